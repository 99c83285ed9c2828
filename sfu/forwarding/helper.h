/* helper.h: a second thread that takes part in sending one packet to very many consumers, and in nothing else.
 *
 * One thread hands the kernel a copy in 0.8 to 3 us, so that the last of 900 listeners would hear a packet up to 3 ms after the first. From
 * SPLIT_FROM consumers on, both threads take pieces of the list until there is none: the forwarding thread from its begin, the helper from its
 * end, so that from packet to packet the same thread has most of the same consumers, whose state and keys are in its core's caches.
 *
 * Thread: functions are the forwarding thread's, but for helper_start and helper_stop (signaling thread, while the forwarding thread does
 * not run). A job is open from its first piece until helper_fan_out returns: in between nothing else happens in the loop, no command, no
 * other packet, so the tables stand still. A consumer, its transport's counters and its encryption belong to whoever has taken its piece:
 * lists in which two consumers share a transport are not split. All else (outbox, totals) each thread has its own of.
 * The helper never takes a packet late: where it is not there in time, the forwarding thread does all pieces itself. It waits only for
 * a piece that the helper is in the midst of.
 * Failure: helper_start returns an error number.
 */
#ifndef ANTIPHON_HELPER_H
#define ANTIPHON_HELPER_H

#include <pthread.h>
#include <semaphore.h>

#include "sender.h"

/* Below, one thread is done within 2 ms on the slowest machine measured; waking and contention cost more than is gained. */
#ifndef SPLIT_FROM
#define SPLIT_FROM 512u
#endif
/* One sendmmsg. */
#define PIECE_COPIES_MOST BATCH
/* What one thread may have to wait for while the other is at it. */
#ifndef PIECE_COPIES_LEAST
#define PIECE_COPIES_LEAST 8u
#endif

struct job {
    const struct consumer_list *list;
    const struct source_packet *source;
    uint64_t arrival_ns;
};

struct helper {
    struct sender sender;
    struct job job;          /* written while it is not open */
    _Atomic uint64_t left;   /* first index that nobody has taken << 32 | the one behind the last */
    _Atomic bool open;       /* there is a job to take pieces of */
    _Atomic bool inside;     /* the helper looks at the job */
    _Atomic bool called;     /* and has not woken up yet */
    _Atomic bool stopping;
    sem_t calls;
    pthread_t thread;
    bool started;
};

/* Starts the thread with the sockets of `own`. */
int helper_start(struct helper *helper, const struct sender *own);
/* Ends the thread, if it was started. */
void helper_stop(struct helper *helper);

/* Whether helper_fan_out may be used. */
bool helper_fits(const struct helper *helper, struct table *table, struct consumer_list *list);
/* Send all copies of a packet, together with the helper. What `own` has gathered so far goes out before; nothing is left in the helper. */
void helper_fan_out(struct helper *helper, struct sender *own, const struct job *job);

#endif
