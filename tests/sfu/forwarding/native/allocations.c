/* allocations.c: preloaded (LD_PRELOAD) into a test process, counts every malloc, calloc, realloc, aligned allocation and free by thread.
 *
 * Thread: any. The count of a thread is readable by its kernel thread id. Failure: allocation_count returns -1 for a thread that has never
 * allocated, and threads beyond THREADS_MAX abort.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREADS_MAX 256

/* glibc's own, under names that nothing interposes. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

long allocation_count(int thread_id);

static struct {
    _Atomic int thread_id;
    _Atomic long count;
} threads[THREADS_MAX];
static _Atomic int thread_count;
static _Thread_local int own = -1;

static void count(void) {
    if (own < 0) {
        own = atomic_fetch_add(&thread_count, 1);
        if (own >= THREADS_MAX)
            abort();
        atomic_store(&threads[own].thread_id, (int)syscall(SYS_gettid));
    }
    atomic_fetch_add(&threads[own].count, 1);
}

long allocation_count(int thread_id) {
    for (int i = 0; i < THREADS_MAX; i++)
        if (atomic_load(&threads[i].thread_id) == thread_id)
            return atomic_load(&threads[i].count);
    return -1;
}

void *malloc(size_t size) {
    count();
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
    count();
    return __libc_calloc(number, size);
}

void *realloc(void *memory, size_t size) {
    count();
    return __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size) {
    count();
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    count();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    count();
    *memory = __libc_memalign(alignment, size);
    return *memory ? 0 : ENOMEM;
}

void free(void *memory) {
    if (memory)
        count();
    __libc_free(memory);
}
