/* commands.c: both ends of both rings. What is above the line runs on the signaling thread, below it on the forwarding thread.
 *
 * Sleeping: a side that is about to wait sets its flag, then looks at its ring once more; the other side publishes first, then looks at
 * the flag. All four are seq_cst, so that at least one of them sees the other, and an eventfd is written only for a sleeper.
 */
#include <assert.h>
#include <errno.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

enum command_type {
    COMMAND_SEND,
    COMMAND_ADD_TRANSPORT,
    COMMAND_SET_UFRAGS,
    COMMAND_REMOVE_TRANSPORT,
    COMMAND_BIND,
    COMMAND_SET_ASSOCIATION,
    COMMAND_ADD_TRACK,
    COMMAND_ADD_ENCODING,
    COMMAND_SET_PAUSED,
    COMMAND_REMOVE_TRACK,
    COMMAND_ADD_CONSUMER,
    COMMAND_RESYNC_CONSUMER,
    COMMAND_REMOVE_CONSUMER,
    COMMAND_SET_CONSUMERS,
    COMMAND_RETRANSMIT,
    COMMAND_STOP,
};

struct command {
    enum command_type type;
    uint32_t index; /* slot, track or consumer that it is about */
    union {
        uint32_t generation;
        uint32_t ssrc;
        uint8_t ufrags[2][UFRAG_BYTES];
        bool paused;
        struct association *association;
        struct consumer_list *list;
        struct {
            uint32_t slot, clock_rate;
            uint8_t payload_type, audio_level_extension;
            struct history *history;
        } track;
        struct {
            struct consumer consumer;
            struct consumer_layout layout;
        } consumer;
        struct {
            struct path path;
            uint32_t length; /* bytes behind the command; bind has none */
        } datagram;
        struct {
            uint32_t track, count; /* sequence numbers, 16 bit each, behind the command */
        } retransmit;
    };
    uint8_t data[];
};

/* How long a command may wait for room in the ring before the forwarding thread is taken for stuck. */
#define COMMAND_PATIENCE_MS 2000

static void wake_thread(struct loop *loop) {
    if (atomic_exchange(&loop->thread_sleeps, false))
        eventfd_write(loop->wake_fd, 1);
}

static struct command *reserve(struct loop *loop, size_t extra, bool wait) {
    for (int tries = 0;; tries++) {
        struct command *command = ring_reserve(&loop->commands, sizeof *command + extra);
        if (command || !wait || tries == COMMAND_PATIENCE_MS * 10)
            return command;
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
}

static enum loop_status issue(struct loop *loop, struct command value) {
    struct command *command = reserve(loop, 0, true);
    if (!command)
        return LOOP_FULL;
    *command = value;
    ring_commit(&loop->commands);
    wake_thread(loop);
    table_reap(&loop->table);
    return LOOP_OK;
}

enum loop_status loop_send(struct loop *loop, const struct path *path, const uint8_t *data, size_t length) {
    if (length == 0 || length > SEND_LIMIT)
        return LOOP_INVALID;
    struct command *command = reserve(loop, length, false);
    if (!command)
        return LOOP_FULL;
    command->type = COMMAND_SEND;
    command->index = MAP_NONE;
    command->datagram.path = *path;
    command->datagram.length = (uint32_t)length;
    memcpy(command->data, data, length);
    ring_commit(&loop->commands);
    wake_thread(loop);
    return LOOP_OK;
}

enum loop_status loop_add_transport(struct loop *loop, uint32_t slot, uint32_t generation) {
    if (slot >= loop->table.max_transports)
        return LOOP_INVALID;
    return issue(loop, (struct command){COMMAND_ADD_TRANSPORT, slot, {.generation = generation}});
}

enum loop_status loop_set_ufrags(struct loop *loop, uint32_t slot, const uint8_t current[UFRAG_BYTES], const uint8_t former[UFRAG_BYTES]) {
    struct command command = {.type = COMMAND_SET_UFRAGS, .index = slot};
    memcpy(command.ufrags[0], current, UFRAG_BYTES);
    memcpy(command.ufrags[1], former, UFRAG_BYTES);
    return issue(loop, command);
}

enum loop_status loop_remove_transport(struct loop *loop, uint32_t slot) {
    return issue(loop, (struct command){.type = COMMAND_REMOVE_TRANSPORT, .index = slot});
}

enum loop_status loop_bind(struct loop *loop, uint32_t slot, const struct path *path) {
    return issue(loop, (struct command){COMMAND_BIND, slot, {.datagram = {*path, 0}}});
}

enum loop_status loop_set_association(struct loop *loop, uint32_t slot, struct association *association) {
    enum loop_status status = issue(loop, (struct command){COMMAND_SET_ASSOCIATION, slot, {.association = association}});
    if (status != LOOP_OK)
        association->retired.destroy(&association->retired);
    return status;
}

enum loop_status loop_add_track(struct loop *loop, uint32_t track, uint32_t slot, uint32_t clock_rate, uint8_t payload_type,
                                uint8_t audio_level_extension) {
    if (track >= loop->table.max_tracks || clock_rate == 0)
        return LOOP_INVALID;
    struct history *history = history_new();
    if (!history)
        return LOOP_FULL;
    enum loop_status status = issue(
        loop, (struct command){COMMAND_ADD_TRACK, track, {.track = {slot, clock_rate, payload_type, audio_level_extension, history}}});
    if (status != LOOP_OK)
        history_destroy(&history->retired);
    return status;
}

enum loop_status loop_add_encoding(struct loop *loop, uint32_t track, uint32_t ssrc) {
    return issue(loop, (struct command){COMMAND_ADD_ENCODING, track, {.ssrc = ssrc}});
}

enum loop_status loop_set_paused(struct loop *loop, uint32_t track, bool paused) {
    return issue(loop, (struct command){COMMAND_SET_PAUSED, track, {.paused = paused}});
}

enum loop_status loop_remove_track(struct loop *loop, uint32_t track) {
    return issue(loop, (struct command){.type = COMMAND_REMOVE_TRACK, .index = track});
}

enum loop_status loop_add_consumer(struct loop *loop, uint32_t index, const struct consumer *consumer, const struct consumer_layout *layout) {
    if (index >= loop->table.max_consumers)
        return LOOP_INVALID;
    struct command *command = reserve(loop, 0, true);
    if (!command)
        return LOOP_FULL;
    command->type = COMMAND_ADD_CONSUMER;
    command->index = index;
    memcpy(&command->consumer.consumer, consumer, sizeof *consumer);
    command->consumer.layout = *layout;
    ring_commit(&loop->commands);
    wake_thread(loop);
    return LOOP_OK;
}

enum loop_status loop_resync_consumer(struct loop *loop, uint32_t index) {
    return issue(loop, (struct command){.type = COMMAND_RESYNC_CONSUMER, .index = index});
}

enum loop_status loop_remove_consumer(struct loop *loop, uint32_t index) {
    return issue(loop, (struct command){.type = COMMAND_REMOVE_CONSUMER, .index = index});
}

enum loop_status loop_set_consumers(struct loop *loop, uint32_t track, struct consumer_list *list) {
    enum loop_status status = issue(loop, (struct command){COMMAND_SET_CONSUMERS, track, {.list = list}});
    if (status != LOOP_OK)
        list->retired.destroy(&list->retired);
    return status;
}

enum loop_status loop_retransmit(struct loop *loop, uint32_t index, uint32_t track, const uint16_t *sequences, size_t count) {
    if (index >= loop->table.max_consumers || track >= loop->table.max_tracks || count > RETRANSMIT_LIMIT)
        return LOOP_INVALID;
    struct command *command = reserve(loop, count * sizeof *sequences, true);
    if (!command)
        return LOOP_FULL;
    command->type = COMMAND_RETRANSMIT;
    command->index = index;
    command->retransmit.track = track;
    command->retransmit.count = (uint32_t)count;
    memcpy(command->data, sequences, count * sizeof *sequences);
    ring_commit(&loop->commands);
    wake_thread(loop);
    return LOOP_OK;
}

enum loop_status loop_stop(struct loop *loop) { return issue(loop, (struct command){.type = COMMAND_STOP}); }

const struct event *loop_event_next(struct loop *loop) {
    size_t length;
    const struct event *event = ring_peek(&loop->events, &length);
    if (event)
        return event;
    eventfd_t ignored;
    eventfd_read(loop->event_fd, &ignored);
    atomic_store(&loop->reader_sleeps, true);
    if (ring_is_empty(&loop->events))
        return NULL;
    atomic_store(&loop->reader_sleeps, false);
    return ring_peek(&loop->events, &length);
}

void loop_event_done(struct loop *loop) { ring_release(&loop->events); }

static void destroy_association(struct retired *item) {
    struct association *a = (struct association *)(void *)item;
    srtp_keys_free(a->keys);
    free(a);
}

static void destroy_list(struct retired *item) { free(item); }

struct association *association_new(struct srtp_keys *keys, uint32_t rtcp_ssrc, uint8_t mid_extension, const char *cname, uint8_t cname_length) {
    struct association *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->retired.destroy = destroy_association;
    a->keys = keys;
    a->rtcp_ssrc = rtcp_ssrc;
    a->mid_extension = mid_extension;
    a->cname_length = cname_length;
    memcpy(a->cname, cname, cname_length);
    return a;
}

struct consumer_list *consumer_list_new(uint32_t count) {
    struct consumer_list *list = malloc(sizeof *list + count * sizeof list->indices[0]);
    if (!list)
        return NULL;
    list->retired.destroy = destroy_list;
    list->count = count;
    list->checked = 0;
    return list;
}

/* ================================================================================================ forwarding thread */

static bool send_datagram(struct loop *loop, const struct command *command) {
    struct outbox *outbox = outbox_for(loop, command->datagram.path.peer.any.sa_family);
    if (!outbox)
        return false;
    memcpy(outbox_slot(outbox), command->data, command->datagram.length);
    struct slot_origin origin = {MAP_NONE, NO_CONSUMER, 0, 0};
    if (outbox_add(outbox, &command->datagram.path, command->datagram.length, origin))
        outbox_flush(outbox, &loop->table, &loop->sender.traffic);
    return true;
}

static bool retransmit_all(struct loop *loop, const struct command *command) {
    const struct track *track = &loop->table.tracks[command->retransmit.track];
    if (!track->active || !loop->table.layouts[command->index].active)
        return false;
    for (uint32_t i = 0; i < command->retransmit.count; i++) {
        uint16_t sequence;
        memcpy(&sequence, command->data + i * sizeof sequence, sizeof sequence);
        retransmit(loop, track, command->index, sequence);
    }
    return true;
}

static bool apply(struct loop *loop, const struct command *command) {
    struct table *table = &loop->table;
    uint32_t index = command->index;
    switch (command->type) {
    case COMMAND_SEND: return send_datagram(loop, command);
    case COMMAND_ADD_TRANSPORT: return table_add_transport(table, index, command->generation);
    case COMMAND_SET_UFRAGS: return table_set_ufrags(table, index, command->ufrags);
    case COMMAND_REMOVE_TRANSPORT: return table_remove_transport(table, index);
    case COMMAND_BIND: return table_bind(table, index, &command->datagram.path);
    case COMMAND_SET_ASSOCIATION: return table_set_association(table, index, command->association);
    case COMMAND_ADD_TRACK:
        return table_add_track(table, index, command->track.slot, command->track.clock_rate, command->track.payload_type,
                               command->track.audio_level_extension, command->track.history);
    case COMMAND_ADD_ENCODING: return table_add_encoding(table, index, command->ssrc);
    case COMMAND_SET_PAUSED: return table_set_paused(table, index, command->paused);
    case COMMAND_REMOVE_TRACK: return table_remove_track(table, index);
    case COMMAND_ADD_CONSUMER:
        return table_add_consumer(table, index, &command->consumer.consumer, &command->consumer.layout);
    case COMMAND_RESYNC_CONSUMER: return table_resync_consumer(table, index);
    case COMMAND_REMOVE_CONSUMER: return table_remove_consumer(table, index);
    case COMMAND_SET_CONSUMERS: return table_set_consumers(table, index, command->list);
    case COMMAND_RETRANSMIT: return retransmit_all(loop, command);
    case COMMAND_STOP: loop->stopping = true; return true;
    }
    return false;
}

void apply_commands(struct loop *loop) {
    size_t length;
    const struct command *command = ring_peek(&loop->commands, &length);
    loop->sender.copies = 0;
    if (!command)
        return;
    flush_all(loop); /* what was gathered belongs to consumers that may be about to go */
    for (; command; command = ring_peek(&loop->commands, &length)) {
        bool carried_out = apply(loop, command);
        assert(carried_out);
        if (!carried_out)
            counter_add(&loop->rejected_commands, 1);
        ring_release(&loop->commands);
    }
    flush_all(loop);
}

void emit(struct loop *loop, const struct event *event, const uint8_t *data) {
    struct event *copy = ring_reserve(&loop->events, sizeof *event + event->length);
    if (!copy) {
        drop(loop, DROP_ring_full);
        return;
    }
    *copy = *event;
    if (event->length)
        memcpy(copy->data, data, event->length);
    ring_commit(&loop->events);
    loop->events_pending = true;
}

void wake_reader(struct loop *loop) {
    if (!loop->events_pending)
        return;
    loop->events_pending = false;
    if (atomic_exchange(&loop->reader_sleeps, false))
        eventfd_write(loop->event_fd, 1);
}
