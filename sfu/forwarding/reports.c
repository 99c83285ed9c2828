/* reports.c: when sender and receiver reports are due (report.c knows their bytes).
 *
 * Thread: the forwarding thread. One walk over all tracks and their consumers every REPORT_PASS_MS finds what is due; a walk is cut
 * into pieces, so that ten thousand reports never stand in the way of a packet.
 */
#include "engine.h"
#include "report.h"

/* RFC 3550 6.2: intervals are drawn from 0.5 to 1.5 of the mean, so that streams that began together do not report together. */
#define REPORT_INTERVAL_MS 1000u
#define REPORT_PASS_MS 100u
#define VISITS_PER_TURN 2048u
#define REPORTS_PER_TURN 64u
/* 1970 in the NTP era that began in 1900 (RFC 5905 6). */
#define NTP_UNIX_EPOCH_S 2208988800u

static uint32_t next_interval(struct loop *loop) {
    loop->random = loop->random * 6364136223846793005u + 1442695040888963407u;
    return REPORT_INTERVAL_MS / 2 + (uint32_t)(loop->random >> 33) % REPORT_INTERVAL_MS;
}

static bool is_due(uint32_t at_ms, uint32_t now_ms) { return (int32_t)(now_ms - at_ms) >= 0; }

static void send_report(struct loop *loop, const struct transport *t, size_t length) {
    struct outbox *outbox = outbox_for(loop, t->path.peer.any.sa_family);
    if (!srtp_protect_rtcp_packet(t->association->keys, outbox_slot(outbox), &length)) {
        drop(loop, DROP_protect_failed);
        return;
    }
    struct slot_origin origin = {(uint32_t)(t - loop->table.transports), NO_CONSUMER, 0, 0};
    if (outbox_add(outbox, &t->path, length, origin))
        outbox_flush(outbox, &loop->table, &loop->sender.traffic);
}

static bool visit_track(struct loop *loop, struct track *track) {
    const struct transport *t = &loop->table.transports[track->transport];
    if (!is_due(track->report_at_ms, loop->now.ms) || !t->association || !t->path.peer_length)
        return false;
    track->report_at_ms = loop->now.ms + next_interval(loop);
    struct outbox *outbox = outbox_for(loop, t->path.peer.any.sa_family);
    size_t length = report_receiver(outbox_slot(outbox), track, t->association, loop->now.monotonic_ns);
    if (length)
        send_report(loop, t, length);
    return length != 0;
}

static bool visit_consumer(struct loop *loop, const struct track *track, uint32_t index) {
    struct consumer *consumer = &loop->table.consumers[index];
    struct consumer_layout *layout = &loop->table.layouts[index];
    const struct transport *t = &loop->table.transports[consumer->transport];
    if (!layout->active || !is_due(layout->report_at_ms, loop->now.ms) || counter_get(&consumer->packets) == 0 ||
        !t->association || !t->path.peer_length)
        return false;
    layout->report_at_ms = loop->now.ms + next_interval(loop);
    uint64_t seconds = loop->now.real_ns / 1000000000u + NTP_UNIX_EPOCH_S;
    uint64_t ntp = seconds << 32 | ((loop->now.real_ns % 1000000000u) << 32) / 1000000000u;
    uint64_t elapsed_ms = loop->now.ms - consumer->last_sent_ms;
    uint32_t timestamp = consumer->last_timestamp + (uint32_t)(elapsed_ms * track->clock_rate / 1000);
    struct outbox *outbox = outbox_for(loop, t->path.peer.any.sa_family);
    send_report(loop, t, report_sender(outbox_slot(outbox), consumer, t->association, ntp, timestamp));
    return true;
}

int send_reports(struct loop *loop) {
    uint32_t tracks = (uint32_t)counter_get(&loop->table.track_count);
    uint32_t visits = 0, reports = 0;
    if (tracks == 0)
        return -1;
    int32_t wait = (int32_t)(loop->next_report_pass_ms - loop->now.ms);
    if (wait > 0 && wait <= (int32_t)REPORT_PASS_MS)
        return wait;
    while (loop->report_track < tracks) {
        struct track *track = &loop->table.tracks[loop->table.active_tracks[loop->report_track]];
        uint32_t consumers = track->consumers ? track->consumers->count : 0;
        if (loop->report_consumer == 0)
            reports += visit_track(loop, track);
        while (loop->report_consumer < consumers) {
            reports += visit_consumer(loop, track, track->consumers->indices[loop->report_consumer++]);
            if (++visits >= VISITS_PER_TURN || reports >= REPORTS_PER_TURN)
                return 0;
        }
        loop->report_consumer = 0;
        loop->report_track++;
        if (++visits >= VISITS_PER_TURN || reports >= REPORTS_PER_TURN)
            return 0;
    }
    loop->report_track = 0;
    loop->next_report_pass_ms = loop->now.ms + REPORT_PASS_MS;
    return (int)REPORT_PASS_MS;
}
