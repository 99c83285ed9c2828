#include "traffic.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

#define EPOLL_BATCH 64
#define WANTED_NICE (-10)

uint64_t traffic_clock(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void traffic_lock(struct traffic *traffic) {
    atomic_fetch_add(&traffic->waiting, 1);
    pthread_mutex_lock(&traffic->lock);
    atomic_fetch_sub(&traffic->waiting, 1);
}

void traffic_unlock(struct traffic *traffic) { pthread_mutex_unlock(&traffic->lock); }

/* ------------------------------------------------------------------------------------------------ the thread */

static uint64_t next_due(const struct traffic *traffic) {
    uint64_t held_ns = impair_due(traffic);
    for (uint64_t s = traffic->next_slot; s < traffic->next_slot + SLOTS; s++)
        if (traffic->slots[s % SLOTS] != NO_TALKER)
            return s * SLOT_NS < held_ns ? s * SLOT_NS : held_ns;
    return held_ns;
}

static void wait_for_work(struct traffic *traffic, uint64_t due_ns) {
    uint64_t now_ns = traffic_clock(CLOCK_MONOTONIC);
    uint64_t wait_ns = due_ns <= now_ns ? 0 : due_ns - now_ns;
    if (wait_ns > FRAME_NS)
        wait_ns = FRAME_NS; /* so that it notices new talkers, and its end */
    struct timespec timeout = {0, (long)wait_ns};
    struct pollfd fd = {traffic->epoll, POLLIN, 0};
    ppoll(&fd, 1, &timeout, NULL); /* epoll_wait itself waits for whole milliseconds */
}

static void turn(struct traffic *traffic) {
    struct epoll_event events[EPOLL_BATCH];
    int count = epoll_wait(traffic->epoll, events, EPOLL_BATCH, 0);
    send_due(traffic, traffic_clock(CLOCK_MONOTONIC));
    for (int i = 0; i < count; i++)
        receive_all(traffic, (uint32_t)(events[i].data.u64 >> 32), (uint32_t)events[i].data.u64);
    impair_release(traffic, traffic_clock(CLOCK_MONOTONIC));
    traffic->counters.turns++;
}

static void *run(void *argument) {
    struct traffic *traffic = argument;
    /* Talkers who wait for a busy Python thread are no steady talkers. Where it is not permitted, their lateness is counted all the same. */
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), WANTED_NICE);
    pthread_mutex_lock(&traffic->lock);
    while (!atomic_load(&traffic->stop)) {
        uint64_t due_ns = next_due(traffic);
        pthread_mutex_unlock(&traffic->lock);
        while (atomic_load(&traffic->waiting) && !atomic_load(&traffic->stop))
            sched_yield();
        wait_for_work(traffic, due_ns);
        pthread_mutex_lock(&traffic->lock);
        turn(traffic);
    }
    pthread_mutex_unlock(&traffic->lock);
    return NULL;
}

/* Signals are for Python's main thread. */
static int start_thread(struct traffic *traffic) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&traffic->thread, NULL, run, traffic);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

/* ------------------------------------------------------------------------------------------------ life */

static uint32_t power_of_two(uint32_t at_least) {
    uint32_t n = 16;
    while (n < at_least)
        n *= 2;
    return n;
}

struct traffic *traffic_new(uint32_t run_id, uint32_t endpoints, uint32_t talkers, uint32_t meters, uint32_t groups) {
    struct traffic *traffic = calloc(1, sizeof *traffic);
    if (!traffic)
        return NULL;
    traffic->run = run_id;
    traffic->endpoint_room = endpoints;
    traffic->speaker_room = talkers;
    traffic->meter_room = meters;
    traffic->group_room = groups;
    traffic->pair_room = power_of_two(2 * meters);
    for (int i = 0; i < SLOTS; i++)
        traffic->slots[i] = NO_TALKER;
    traffic->endpoints = calloc(endpoints, sizeof *traffic->endpoints);
    traffic->speakers = calloc(talkers, sizeof *traffic->speakers);
    traffic->meters = calloc(meters, sizeof *traffic->meters);
    traffic->groups = calloc(groups, sizeof *traffic->groups);
    traffic->pairs = calloc(traffic->pair_room, sizeof *traffic->pairs);
    traffic->ring = (struct ring){.bytes = malloc(EVENT_RING_BYTES), .size = EVENT_RING_BYTES};
    traffic->epoll = epoll_create1(EPOLL_CLOEXEC);
    traffic->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    traffic->next_slot = traffic_clock(CLOCK_MONOTONIC) / SLOT_NS;
    pthread_mutex_init(&traffic->lock, NULL);
    if (traffic->endpoints && traffic->speakers && traffic->meters && traffic->groups && traffic->pairs && traffic->ring.bytes &&
        traffic->epoll >= 0 && traffic->event_fd >= 0 && (errno = start_thread(traffic)) == 0) {
        traffic->started = true;
        return traffic;
    }
    int error = errno;
    traffic_free(traffic);
    errno = error;
    return NULL;
}

void traffic_free(struct traffic *traffic) {
    if (traffic->started) {
        atomic_store(&traffic->stop, true);
        pthread_join(traffic->thread, NULL);
    }
    for (uint32_t i = 0; i < traffic->endpoint_count; i++) {
        srtp_keys_free(traffic->endpoints[i].keys);
        free(traffic->endpoints[i].early);
        free(traffic->endpoints[i].sources);
    }
    for (uint32_t i = 0; i < traffic->speech.count; i++)
        free((void *)traffic->speech.frames[i].data);
    free(traffic->speech.frames);
    free(traffic->endpoints);
    free(traffic->speakers);
    free(traffic->meters);
    free(traffic->groups);
    free(traffic->pairs);
    free(traffic->ring.bytes);
    free(traffic->impairment.ring.bytes);
    if (traffic->epoll >= 0)
        close(traffic->epoll);
    if (traffic->event_fd >= 0)
        close(traffic->event_fd);
    pthread_mutex_destroy(&traffic->lock);
    free(traffic);
}

int traffic_event_fd(const struct traffic *traffic) { return traffic->event_fd; }

/* ------------------------------------------------------------------------------------------------ events */

bool traffic_next_event(struct traffic *traffic, struct event *event, uint8_t *data, size_t room) {
    traffic_lock(traffic);
    bool found = traffic->ring.used > 0;
    if (found) {
        ring_peek(&traffic->ring, event, sizeof *event);
        ring_skip(&traffic->ring, sizeof *event);
        ring_peek(&traffic->ring, data, event->length <= room ? event->length : room);
        ring_skip(&traffic->ring, event->length);
    } else {
        uint64_t count;
        if (read(traffic->event_fd, &count, sizeof count) < 0 && errno != EAGAIN)
            traffic->counters.events_dropped++;
    }
    traffic_unlock(traffic);
    return found;
}
