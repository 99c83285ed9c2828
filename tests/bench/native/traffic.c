/* traffic.c: a benchmark's packets in bulk, called by ctypes without the GIL: send prepared datagrams, count received ones. */
#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define BATCH 64

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Send `count` datagrams of `size` bytes each, lying one behind the other, at `interval_ns` distance (0: at once), from core `cpu` (-1:
 * any). Returns how many the kernel took. */
long send_packets(int fd, const uint8_t *bytes, long count, long size, long interval_ns, int cpu) {
    if (cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        sched_setaffinity(0, sizeof set, &set);
    }
    uint64_t start = now_ns();
    long sent = 0;
    for (long i = 0; i < count; i++) {
        if (interval_ns) {
            uint64_t due = start + (uint64_t)i * (uint64_t)interval_ns;
            for (uint64_t now = now_ns(); now < due; now = now_ns())
                if (due - now > 100000)
                    nanosleep(&(struct timespec){.tv_nsec = (long)(due - now - 60000)}, NULL);
        }
        sent += send(fd, bytes + i * size, (size_t)size, 0) == size;
    }
    return sent;
}

/* Take what waits at the sockets; returns the number of datagrams. Call again until nothing comes. */
long count_packets(const int *fds, int fd_count) {
    static uint8_t bytes[BATCH][2048];
    struct mmsghdr headers[BATCH];
    struct iovec vectors[BATCH];
    long total = 0;
    for (int i = 0; i < BATCH; i++) {
        vectors[i] = (struct iovec){bytes[i], sizeof bytes[i]};
        headers[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &vectors[i], .msg_iovlen = 1}};
    }
    for (int i = 0; i < fd_count; i++) {
        int got;
        do {
            got = recvmmsg(fds[i], headers, BATCH, MSG_DONTWAIT, NULL);
            for (int j = 0; j < got; j++)
                total += bytes[j][1] < 192 || bytes[j][1] > 223; /* RTP, not RTCP */
        } while (got == BATCH);
    }
    return total;
}
