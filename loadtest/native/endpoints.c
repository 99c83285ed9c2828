/* endpoints.c: sockets that come and go. */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "engine.h"

static int64_t free_endpoint(struct traffic *traffic) {
    for (uint32_t i = 0; i < traffic->endpoint_count; i++)
        if (traffic->endpoints[i].fd < 0)
            return i;
    return traffic->endpoint_count < traffic->endpoint_room ? (int64_t)traffic->endpoint_count++ : -1;
}

int64_t endpoint_open(struct traffic *traffic, int fd, uint32_t listener, uint32_t *generation) {
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on);
    traffic_lock(traffic);
    int64_t index = free_endpoint(traffic);
    if (index >= 0) {
        struct endpoint *endpoint = &traffic->endpoints[index];
        uint32_t next = endpoint->generation + 1;
        memset(endpoint, 0, sizeof *endpoint);
        endpoint->fd = fd;
        endpoint->listener = listener;
        *generation = endpoint->generation = next;
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)index << 32 | next};
        if (epoll_ctl(traffic->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
            endpoint->fd = -1;
            index = -1;
        }
    }
    traffic_unlock(traffic);
    return index;
}

struct endpoint *open_endpoint(struct traffic *traffic, uint32_t index) {
    return index < traffic->endpoint_count && traffic->endpoints[index].fd >= 0 ? &traffic->endpoints[index] : NULL;
}

bool endpoint_set_keys(struct traffic *traffic, uint32_t index, struct srtp_keys *keys) {
    traffic_lock(traffic);
    struct endpoint *endpoint = open_endpoint(traffic, index);
    bool ok = endpoint && !endpoint->keys;
    if (ok) {
        endpoint->keys = keys;
        receive_early(traffic, endpoint);
    }
    traffic_unlock(traffic);
    return ok;
}

bool endpoint_read(struct traffic *traffic, uint32_t index, struct endpoint_counters *counters) {
    traffic_lock(traffic);
    struct endpoint *endpoint = open_endpoint(traffic, index);
    if (endpoint)
        *counters = endpoint->counters;
    traffic_unlock(traffic);
    return endpoint != NULL;
}

bool endpoint_close(struct traffic *traffic, uint32_t index) {
    traffic_lock(traffic);
    struct endpoint *endpoint = open_endpoint(traffic, index);
    struct srtp_keys *keys = NULL;
    if (endpoint) {
        epoll_ctl(traffic->epoll, EPOLL_CTL_DEL, endpoint->fd, NULL);
        keys = endpoint->keys;
        free(endpoint->early);
        free(endpoint->sources);
        endpoint->early = NULL;
        endpoint->sources = NULL;
        endpoint->keys = NULL;
        endpoint->fd = -1;
    }
    traffic_unlock(traffic);
    srtp_keys_free(keys);
    return endpoint != NULL;
}
