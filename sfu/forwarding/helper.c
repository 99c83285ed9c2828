#include "helper.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>

#include "priority.h"

/* So many looks at a piece that is nearly done, before another thread is given the core. */
#define PATIENT_LOOKS 4096u

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

/* Take pieces until there is none, and send what was gathered. */
static void take_pieces(struct helper *helper, struct sender *sender) {
    const struct job *job = &helper->job;
    for (;;) {
        uint32_t begin = atomic_fetch_add_explicit(&helper->next, PIECE_COPIES, memory_order_relaxed);
        if (begin >= job->list->count)
            break;
        uint32_t left = job->list->count - begin;
        send_copies(sender, job->list->indices + begin, left < PIECE_COPIES ? left : PIECE_COPIES, job->source, job->arrival_ns);
    }
    sender_flush(sender);
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
            take_pieces(helper, &helper->sender);
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
    atomic_store_explicit(&helper->next, 0, memory_order_relaxed);
    atomic_store(&helper->open, true);
    call(helper);
#if HELPER_HEAD_START
    while (atomic_load(&helper->called) && counter_get(&helper->sender.traffic.packets_out) < HELPER_HEAD_START)
        sched_yield();
#endif
    take_pieces(helper, own);
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
