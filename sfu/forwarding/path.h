/* path.h: the two ends of a datagram's way: the peer's address, and which of the machine's own addresses it came to or leaves from.
 *
 * Thread: any; values. On a machine with several addresses an answer must leave from the address that was asked, or the peer's ICE agent
 * discards it (RFC 8445 7.2.5.2.1), and a socket bound to all addresses lets the kernel choose. So what comes in through such a socket
 * carries its local address (IP_PKTINFO, RFC 3542 6), and what goes out is given the same.
 */
#ifndef ANTIPHON_PATH_H
#define ANTIPHON_PATH_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

struct path {
    union address peer;
    socklen_t peer_length; /* 0: no path */
    bool has_local;        /* false: the socket is bound to one address, or the kernel may choose */
    uint8_t local[16];     /* IPv4: the first 4 bytes; network order */
};

/* Room for one packet-information message of either family. */
#define PATH_CONTROL_BYTES CMSG_SPACE(sizeof(struct in6_pktinfo))

/* Ask the kernel for local addresses, where the socket is bound to all. Returns false with errno set where that fails. */
static inline bool path_enable(int fd, int family) {
    union address bound;
    socklen_t size = sizeof bound;
    int on = 1;
    if (getsockname(fd, &bound.any, &size))
        return false;
    if (family == AF_INET)
        return bound.v4.sin_addr.s_addr != htonl(INADDR_ANY) || setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) == 0;
    return !IN6_IS_ADDR_UNSPECIFIED(&bound.v6.sin6_addr) || setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on) == 0;
}

/* Take the local address from one control message, if it tells it. */
static inline void path_read_local(struct path *path, const struct cmsghdr *message) {
    if (message->cmsg_level == IPPROTO_IP && message->cmsg_type == IP_PKTINFO) {
        struct in_pktinfo info;
        memcpy(&info, CMSG_DATA(message), sizeof info);
        memcpy(path->local, &info.ipi_addr, 4);
        path->has_local = true;
    } else if (message->cmsg_level == IPPROTO_IPV6 && message->cmsg_type == IPV6_PKTINFO) {
        struct in6_pktinfo info;
        memcpy(&info, CMSG_DATA(message), sizeof info);
        memcpy(path->local, &info.ipi6_addr, 16);
        path->has_local = true;
    }
}

/* Write the control message that makes a datagram leave from the local address; `control` has PATH_CONTROL_BYTES. */
static inline void path_write_local(const struct path *path, struct msghdr *header, void *control) {
    header->msg_control = control;
    struct cmsghdr *message = control;
    if (path->peer.any.sa_family == AF_INET) {
        struct in_pktinfo info = {0};
        memcpy(&info.ipi_spec_dst, path->local, 4);
        *message = (struct cmsghdr){CMSG_LEN(sizeof info), IPPROTO_IP, IP_PKTINFO};
        memcpy(CMSG_DATA(message), &info, sizeof info);
        header->msg_controllen = CMSG_SPACE(sizeof info);
    } else {
        struct in6_pktinfo info = {0};
        memcpy(&info.ipi6_addr, path->local, 16);
        *message = (struct cmsghdr){CMSG_LEN(sizeof info), IPPROTO_IPV6, IPV6_PKTINFO};
        memcpy(CMSG_DATA(message), &info, sizeof info);
        header->msg_controllen = CMSG_SPACE(sizeof info);
    }
}

#endif
