/* loop.c: the forwarding thread's life: sockets in, turns, counters out. */
#include "engine.h"
#include "priority.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

/* A socket gives way to the other one, to commands and to reports after so many batches, or so many copies. */
#define BATCHES_PER_TURN 4u
#define COPIES_BETWEEN_COMMANDS 512u

enum loop_status loop_stop(struct loop *loop);

static uint64_t clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void look_at_clocks(struct loop *loop) {
    loop->now.monotonic_ns = clock_ns(CLOCK_MONOTONIC);
    loop->now.real_ns = clock_ns(CLOCK_REALTIME);
    loop->now.ms = (uint32_t)(loop->now.monotonic_ns / 1000000u);
}

/* ------------------------------------------------------------------------------------------------ one turn */

/* The kernel's receive time (0: none), and which of our addresses the datagram came to. */
static uint64_t read_control(struct msghdr *header, struct path *path) {
    uint64_t arrival_ns = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec t;
            memcpy(&t, CMSG_DATA(c), sizeof t);
            arrival_ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
        } else {
            path_read_local(path, c);
        }
    }
    return arrival_ns;
}

static void prepare_inbox(struct inbox *inbox, int family) {
    socklen_t name_length = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    for (unsigned i = 0; i < BATCH; i++) {
        inbox->paths[i].has_local = false;
        inbox->vectors[i] = (struct iovec){inbox->slots[i], DATAGRAM_ROOM};
        inbox->headers[i].msg_hdr = (struct msghdr){
            .msg_name = &inbox->paths[i].peer,
            .msg_namelen = name_length,
            .msg_iov = &inbox->vectors[i],
            .msg_iovlen = 1,
            .msg_control = inbox->control[i],
            .msg_controllen = CONTROL_BYTES,
        };
    }
}

static void take_datagram(struct loop *loop, struct inbox *inbox, int i) {
    struct msghdr *header = &inbox->headers[i].msg_hdr;
    struct path *path = &inbox->paths[i];
    path->peer_length = header->msg_namelen;
    uint64_t arrival_ns = read_control(header, path);
    receive_datagram(loop, inbox->slots[i], inbox->headers[i].msg_len, path, arrival_ns);
}

/* Returns whether there may be more. */
static bool drain_once(struct loop *loop, const struct outbox *socket) {
    struct inbox *inbox = &loop->inbox;
    prepare_inbox(inbox, socket->family);
    int count = recvmmsg(socket->fd, inbox->headers, BATCH, MSG_DONTWAIT, NULL);
    if (count <= 0)
        return false;
    /* Before, not after: a command that was given before a packet was sent is carried out before that packet. */
    apply_commands(loop);
    look_at_clocks(loop);
    for (int i = 0; i < count; i++) {
        struct msghdr *header = &inbox->headers[i].msg_hdr;
        if (header->msg_flags & MSG_TRUNC)
            drop(loop, DROP_oversized);
        else
            take_datagram(loop, inbox, i);
        if (loop->sender.copies >= COPIES_BETWEEN_COMMANDS) {
            apply_commands(loop);
            look_at_clocks(loop);
        }
    }
    flush_all(loop);
    wake_reader(loop);
    return count == BATCH;
}

static void drain(struct loop *loop, const struct outbox *socket) {
    for (unsigned i = 0; i < BATCHES_PER_TURN; i++)
        if (!drain_once(loop, socket))
            return;
}

static int wait_for_work(struct loop *loop, struct epoll_event *events, int timeout_ms) {
    if (timeout_ms != 0) {
        atomic_store(&loop->thread_sleeps, true);
        if (!ring_is_empty(&loop->commands))
            timeout_ms = 0;
    }
    int count = epoll_wait(loop->epoll_fd, events, MAX_SOCKETS + 1, timeout_ms);
    atomic_store(&loop->thread_sleeps, false);
    return count;
}

static void turn(struct loop *loop, int timeout_ms) {
    struct epoll_event events[MAX_SOCKETS + 1];
    int count = wait_for_work(loop, events, timeout_ms);
    for (int i = 0; i < count; i++) {
        if (events[i].data.u32 < loop->sender.socket_count) {
            drain(loop, &loop->sender.outboxes[events[i].data.u32]);
        } else {
            eventfd_t ignored;
            eventfd_read(loop->wake_fd, &ignored);
        }
    }
    apply_commands(loop);
}

/* loop_is_realtime and loop_nice tell what was permitted. */
static void take_priority(struct loop *loop) {
    pid_t tid = (pid_t)syscall(SYS_gettid);
    if (priority_raise())
        atomic_store(&loop->realtime, true);
    else
        atomic_store(&loop->nice, getpriority(PRIO_PROCESS, (id_t)tid));
    atomic_store(&loop->thread_id, tid);
    atomic_store(&loop->ready, true);
}

static void *run(void *argument) {
    struct loop *loop = argument;
    pthread_setname_np(pthread_self(), "antiphon-fwd");
    take_priority(loop);
    while (!loop->stopping) {
        look_at_clocks(loop);
        int timeout_ms = send_reports(loop);
        flush_all(loop);
        turn(loop, timeout_ms);
    }
    flush_all(loop);
    return NULL;
}

/* ------------------------------------------------------------------------------------------------ lifecycle */

static bool adopt_socket(struct loop *loop, int fd) {
    int family = 0, type = 0, on = 1;
    socklen_t size = sizeof family;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size))
        return false;
    if (type != SOCK_DGRAM || (family != AF_INET && family != AF_INET6) || outbox_for(loop, family)) {
        errno = EPROTOTYPE;
        return false;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) || !path_enable(fd, family))
        return false;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = loop->sender.socket_count};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event))
        return false;
    outbox_init(&loop->sender.outboxes[loop->sender.socket_count++], fd, family);
    return true;
}

static bool open_descriptors(struct loop *loop) {
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->epoll_fd < 0 || loop->wake_fd < 0 || loop->event_fd < 0)
        return false;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = MAX_SOCKETS};
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &event) == 0;
}

static int start_thread(struct loop *loop) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the signaling thread's */
    int error = pthread_create(&loop->thread, NULL, run, loop);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    loop->thread_started = error == 0;
    while (loop->thread_started && !atomic_load(&loop->ready))
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    return error;
}

/* With one core, or confined to one, a second thread could only take turns with the first. */
static bool has_cores(void) {
    cpu_set_t usable;
    return sched_getaffinity(0, sizeof usable, &usable) == 0 && CPU_COUNT(&usable) > 1;
}

static void release(struct loop *loop) {
    helper_stop(&loop->helper);
    int fds[] = {loop->epoll_fd, loop->wake_fd, loop->event_fd};
    for (unsigned i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    table_free(&loop->table);
    ring_free(&loop->commands);
    ring_free(&loop->events);
    free(loop);
}

struct loop *loop_create(const int *sockets, unsigned count, uint32_t max_transports, uint32_t max_tracks, uint32_t max_consumers) {
    uint64_t seeds[2];
    struct loop *loop = aligned_alloc(64, (sizeof *loop + 63) & ~(size_t)63);
    if (!loop)
        return NULL;
    memset(loop, 0, sizeof *loop);
    loop->epoll_fd = loop->wake_fd = loop->event_fd = -1;
    atomic_store(&loop->reader_sleeps, true);
    bool ok = getrandom(seeds, sizeof seeds, 0) == (ssize_t)sizeof seeds &&
              table_init(&loop->table, max_transports, max_tracks, max_consumers, seeds[0]) &&
              ring_init(&loop->commands, COMMAND_RING_BYTES) && ring_init(&loop->events, EVENT_RING_BYTES) &&
              open_descriptors(loop);
    loop->random = seeds[1];
    loop->sender.table = &loop->table;
    for (unsigned i = 0; ok && i < count; i++)
        ok = adopt_socket(loop, sockets[i]);
    if (ok && has_cores())
        ok = (errno = helper_start(&loop->helper, &loop->sender)) == 0;
    if (ok) {
        look_at_clocks(loop);
        errno = start_thread(loop);
        ok = loop->thread_started;
    }
    if (!ok) {
        int error = errno;
        release(loop);
        errno = error;
        return NULL;
    }
    return loop;
}

void loop_destroy(struct loop *loop) {
    if (loop_stop(loop) != LOOP_OK)
        return; /* the thread is stuck and may wake up: leaking is the only safe thing left */
    pthread_join(loop->thread, NULL);
    helper_stop(&loop->helper);
    for (unsigned i = 0; i < loop->sender.socket_count; i++)
        close(loop->sender.outboxes[i].fd);
    release(loop);
}

int loop_event_fd(const struct loop *loop) { return loop->event_fd; }
bool loop_is_realtime(const struct loop *loop) { return atomic_load(&((struct loop *)(uintptr_t)loop)->realtime); }
int loop_nice(const struct loop *loop) { return atomic_load(&((struct loop *)(uintptr_t)loop)->nice); }
int loop_thread_id(const struct loop *loop) { return atomic_load(&((struct loop *)(uintptr_t)loop)->thread_id); }
bool loop_has_family(const struct loop *loop, int family) { return outbox_for((struct loop *)(uintptr_t)loop, family) != NULL; }

/* ------------------------------------------------------------------------------------------------ counters */

const char *drop_name(unsigned reason) {
    static const char *const names[] = {
#define DROP_NAME(name, text) #name,
        DROP_REASONS(DROP_NAME)
#undef DROP_NAME
    };
    return reason < DROP_COUNT ? names[reason] : NULL;
}

void loop_drops(const struct loop *loop, uint64_t drops[DROP_COUNT]) {
    for (unsigned i = 0; i < DROP_COUNT; i++)
        drops[i] = counter_get(&loop->sender.traffic.drops[i]) + counter_get(&loop->helper.sender.traffic.drops[i]);
}

static uint64_t cpu_ns(pthread_t thread) {
    clockid_t clock;
    return pthread_getcpuclockid(thread, &clock) == 0 ? clock_ns(clock) : 0;
}

static void add_traffic(struct loop_totals *totals, const struct traffic *traffic) {
    totals->packets_in += counter_get(&traffic->packets_in);
    totals->packets_out += counter_get(&traffic->packets_out);
    totals->bytes_in += counter_get(&traffic->bytes_in);
    totals->bytes_out += counter_get(&traffic->bytes_out);
    totals->retransmitted += counter_get(&traffic->retransmitted);
    totals->latency_sum_ns += counter_get(&traffic->latency_sum_ns);
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
        totals->latency[i] += counter_get(&traffic->latency[i]);
}

void loop_read_totals(const struct loop *loop, struct loop_totals *totals) {
    memset(totals, 0, sizeof *totals);
    add_traffic(totals, &loop->sender.traffic);
    add_traffic(totals, &loop->helper.sender.traffic);
    totals->helped = counter_get(&loop->helper.sender.traffic.packets_out);
    totals->rejected_commands = counter_get(&loop->rejected_commands);
    totals->cpu_ns = cpu_ns(loop->thread) + (loop->helper.started ? cpu_ns(loop->helper.thread) : 0);
}

void loop_read_tables(const struct loop *loop, struct table_counters *counters) {
    counters->transports = counter_get(&loop->table.transport_count);
    counters->tracks = counter_get(&loop->table.track_count);
    counters->consumers = counter_get(&loop->table.consumer_count);
    counters->addresses = counter_get(&loop->table.address_count);
}

bool loop_read_transport(const struct loop *loop, uint32_t slot, struct transport_counters *counters) {
    if (slot >= loop->table.max_transports)
        return false;
    const struct transport *t = &loop->table.transports[slot];
    *counters = (struct transport_counters){
        counter_get(&t->packets_in),  counter_get(&t->bytes_in),    counter_get(&t->packets_out),
        counter_get(&t->bytes_out),   counter_get(&t->auth_failed), counter_get(&t->replayed),
    };
    return true;
}

bool loop_read_track(const struct loop *loop, uint32_t track, struct track_counters *counters) {
    if (track >= loop->table.max_tracks)
        return false;
    const struct track *t = &loop->table.tracks[track];
    *counters = (struct track_counters){
        counter_get(&t->packets), counter_get(&t->payload_bytes), counter_get(&t->lost),
        counter_get(&t->jitter),  counter_get(&t->audio_level),   counter_get(&t->last_packet_ns),
    };
    return true;
}

bool loop_read_consumer(const struct loop *loop, uint32_t index, struct consumer_counters *counters) {
    if (index >= loop->table.max_consumers)
        return false;
    const struct consumer *c = &loop->table.consumers[index];
    *counters = (struct consumer_counters){counter_get(&c->packets), counter_get(&c->payload_bytes)};
    return true;
}
