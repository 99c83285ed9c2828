#include "helper.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>

#include "priority.h"

/* So many looks at a piece that is nearly done, before another thread is given the core. */
#define PATIENT_LOOKS 4096u

/* Where something begins and ends, in one word. */
static uint64_t span(uint32_t begin, uint32_t end) { return (uint64_t)begin << 32 | end; }
static uint32_t span_begin(uint64_t span) { return (uint32_t)(span >> 32); }
static uint32_t span_end(uint64_t span) { return (uint32_t)span; }

static void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Test builds: so many copies are the helper's even on a machine whose cores are all busy, where it would wake up too late each time. */
#ifndef HELPER_HEAD_START
#define HELPER_HEAD_START 0
#endif

/* A quarter of what nobody has taken, so that both threads come to the end at about the same time. */
static uint32_t piece_of(uint32_t left) {
    uint32_t piece = left / 4 < PIECE_COPIES_MOST ? left / 4 : PIECE_COPIES_MOST;
    piece = piece > PIECE_COPIES_LEAST ? piece : PIECE_COPIES_LEAST;
    return piece < left ? piece : left;
}

/* The caller's next piece, from the begin of what is left or from its end; false where nothing is. */
static bool take_piece(struct helper *helper, bool from_end, uint32_t *begin, uint32_t *count) {
    uint64_t left = atomic_load_explicit(&helper->left, memory_order_relaxed), rest;
    do {
        uint32_t first = span_begin(left), end = span_end(left);
        if (first >= end)
            return false;
        *count = piece_of(end - first);
        *begin = from_end ? end - *count : first;
        rest = from_end ? span(first, *begin) : span(first + *count, end);
    } while (!atomic_compare_exchange_weak_explicit(&helper->left, &left, rest, memory_order_relaxed, memory_order_relaxed));
    return true;
}

/* Take pieces until there is none, and send each. */
static void take_pieces(struct helper *helper, struct sender *sender, bool from_end) {
    const struct job *job = &helper->job;
    uint32_t begin, count;
    while (take_piece(helper, from_end, &begin, &count)) {
        send_copies(sender, job->list->indices + begin, count, job->source, job->arrival_ns);
        sender_flush(sender);
    }
}

/* `inside` is set before `open` is read, and `open` cleared before `inside` is read, all seq_cst: so either the helper sees that the
 * job is over, or the forwarding thread sees that the helper is in it. */
static void *run(void *argument) {
    struct helper *helper = argument;
    priority_raise();
    for (;;) {
        while (sem_wait(&helper->calls) && errno == EINTR)
            ;
        atomic_store(&helper->called, false);
        if (atomic_load(&helper->stopping))
            return NULL;
        atomic_store(&helper->inside, true);
        if (atomic_load(&helper->open))
            take_pieces(helper, &helper->sender, true);
        atomic_store(&helper->inside, false);
    }
}

static void call(struct helper *helper) {
    if (!atomic_exchange(&helper->called, true))
        sem_post(&helper->calls);
}

bool helper_fits(const struct helper *helper, struct table *table, struct consumer_list *list) {
    return helper->started && list->count >= SPLIT_FROM && table_is_apart(table, list);
}

void helper_fan_out(struct helper *helper, struct sender *own, const struct job *job) {
    sender_flush(own); /* an earlier packet to the same consumer must not come behind this one */
    helper->job = *job;
    atomic_store_explicit(&helper->left, span(0, job->list->count), memory_order_relaxed);
    atomic_store(&helper->open, true);
    call(helper);
#if HELPER_HEAD_START
    while (atomic_load(&helper->called) && counter_get(&helper->sender.traffic.packets_out) < HELPER_HEAD_START)
        sched_yield();
#endif
    take_pieces(helper, own, false);
    atomic_store(&helper->open, false);
    for (unsigned looks = 0; atomic_load(&helper->inside); looks++)
        if (looks < PATIENT_LOOKS)
            pause_briefly();
        else
            sched_yield();
    own->copies += job->list->count;
}

int helper_start(struct helper *helper, const struct sender *own) {
    sigset_t all, before;
    helper->sender.table = own->table;
    helper->sender.socket_count = own->socket_count;
    for (unsigned i = 0; i < own->socket_count; i++)
        outbox_init(&helper->sender.outboxes[i], own->outboxes[i].fd, own->outboxes[i].family);
    if (sem_init(&helper->calls, 0, 0))
        return errno;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the signaling thread's */
    int error = pthread_create(&helper->thread, NULL, run, helper);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    helper->started = error == 0;
    if (helper->started)
        pthread_setname_np(helper->thread, "antiphon-help");
    return error;
}

void helper_stop(struct helper *helper) {
    if (!helper->started)
        return;
    atomic_store(&helper->stopping, true);
    call(helper);
    pthread_join(helper->thread, NULL);
    sem_destroy(&helper->calls);
    helper->started = false;
}
