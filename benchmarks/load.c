/* Load for the echo benchmarks: many connections from one epoll loop, each sending a message when the last has come back.
 *
 *   load ADDRESS CONNECTIONS BYTES   for each line of its input, a number of seconds: loads for so long after a warm-up, waits
 *                                    until nothing is on its way any more, and prints how many messages have come back.
 *                                    ADDRESS is tcp:PORT, udp:PORT, unix:PATH, or http:PORT, where a message is
 *                                    a GET request (BYTES is ignored) and must always have a reply of one length
 *   load hold ADDRESS CONNECTIONS    idle connections: prints a line once all are there, keeps them until its input ends
 *   load serve                       an echo server, as the ceiling: prints its TCP port, runs until killed
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 1024, BUFFER = 1 << 20 };

struct connection {
    int fd;
    size_t to_send, to_receive;
};

static char message[BUFFER], buffer[BUFFER];
static size_t message_size, reply_size;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void watch(int epoll, int operation, int fd, uint32_t events, void *data) {
    struct epoll_event event = {.events = events, .data.ptr = data};
    if (epoll_ctl(epoll, operation, fd, &event) < 0) fail("epoll_ctl");
}

/* Send what is left of the message; watch for writing only while the socket is full. */
static void push(int epoll, struct connection *c, int was_full) {
    while (c->to_send) {
        ssize_t n = send(c->fd, message + message_size - c->to_send, c->to_send, 0);
        if (n < 0) {
            if (errno != EAGAIN) fail("send");
            if (!was_full) watch(epoll, EPOLL_CTL_MOD, c->fd, EPOLLIN | EPOLLOUT, c);
            return;
        }
        c->to_send -= n;
    }
    if (was_full) watch(epoll, EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
}

static void begin(int epoll, struct connection *c) {
    c->to_send = message_size;
    c->to_receive = reply_size;
    push(epoll, c, 0);
}

static int connected(const char *address) {
    int type = strncmp(address, "udp:", 4) ? SOCK_STREAM : SOCK_DGRAM, one = 1, fd, failed;
    if (!strncmp(address, "unix:", 5)) {
        struct sockaddr_un path = {.sun_family = AF_UNIX};
        strncpy(path.sun_path, address + 5, sizeof path.sun_path - 1);
        fd = socket(AF_UNIX, type, 0);
        failed = connect(fd, (struct sockaddr *)&path, sizeof path);
    } else {
        struct sockaddr_in port = {.sin_family = AF_INET, .sin_port = htons(atoi(strchr(address, ':') + 1)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        fd = socket(AF_INET, type, 0);
        failed = connect(fd, (struct sockaddr *)&port, sizeof port);
        if (type == SOCK_STREAM) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    if (failed) fail("connect");
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* What is sent, and how long its reply is: found by asking once, and taking what comes until nothing more does. */
static void choose_message(const char *address, size_t bytes) {
    if (bytes > BUFFER) fprintf(stderr, "a message has at most %d bytes\n", BUFFER), exit(2);
    message_size = reply_size = bytes;
    if (strncmp(address, "http:", 5)) return;
    reply_size = 0;
    message_size = sprintf(message, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    struct pollfd one = {.fd = connected(address), .events = POLLIN};
    if (send(one.fd, message, message_size, 0) < 0) fail("send");
    int patience = 5000;
    for (ssize_t got; poll(&one, 1, patience) > 0 && (got = recv(one.fd, buffer, BUFFER, 0)) > 0; patience = 200) reply_size += got;
    close(one.fd);
    if (!reply_size) fprintf(stderr, "the server does not answer\n"), exit(1);
}

/* Messages that have come back between `seconds` / 4 from now and `seconds` later. */
static void measure(int epoll, struct connection *all, int connections, double seconds) {
    struct epoll_event events[EVENTS];
    for (int i = 0; i < connections; i++) begin(epoll, &all[i]);
    double start = now() + seconds / 4, end = start + seconds;
    long messages = 0;
    for (int on_their_way = connections; on_their_way;) {
        int n = epoll_wait(epoll, events, EVENTS, 10000);
        if (n == 0) fprintf(stderr, "the server does not answer any more\n"), exit(1);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) push(epoll, c, 1);
            if (!(events[i].events & ~EPOLLOUT)) continue;
            ssize_t got = recv(c->fd, buffer, BUFFER, 0);
            if (got == 0) fprintf(stderr, "the server closed a connection\n"), exit(1);
            if (got < 0 && errno == EAGAIN) continue;
            if (got < 0) fail("recv");
            c->to_receive -= got;
            if (c->to_receive) continue;
            double at = now();
            if (at >= end) {
                on_their_way--;
                continue;
            }
            if (at >= start) messages++;
            begin(epoll, c);
        }
    }
    printf("%ld\n", messages);
    fflush(stdout);
}

static int load(const char *address, int connections, size_t bytes) {
    double seconds;
    choose_message(address, bytes);
    struct connection *all = calloc(connections, sizeof *all);
    int epoll = epoll_create1(0);
    for (int i = 0; i < connections; i++) {
        all[i].fd = connected(address);
        watch(epoll, EPOLL_CTL_ADD, all[i].fd, EPOLLIN, &all[i]);
    }
    while (scanf("%lf", &seconds) == 1) measure(epoll, all, connections, seconds);
    return 0;
}

static int hold(const char *address, int connections) {
    for (int i = 0; i < connections; i++) connected(address);
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF);
    return 0;
}

static void serve(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    struct epoll_event events[EVENTS];
    int listener = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0), one = 1;
    if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 1024) < 0) fail("listen");
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (!events[i].data.ptr) {
                int fd = accept(listener, NULL, NULL);
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, (void *)(long)fd);
                continue;
            }
            int fd = (int)(long)events[i].data.ptr;
            ssize_t got = recv(fd, buffer, BUFFER, 0);
            if (got <= 0) {
                close(fd);
                continue;
            }
            /* Blocking: this end may wait, the peer keeps reading. */
            for (ssize_t sent = 0, m; sent < got; sent += m)
                if ((m = send(fd, buffer + sent, got - sent, MSG_NOSIGNAL)) < 0) {
                    close(fd);
                    break;
                }
        }
    }
}

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "serve")) serve();
    if (argc == 4 && !strcmp(argv[1], "hold")) return hold(argv[2], atoi(argv[3]));
    if (argc == 4) return load(argv[1], atoi(argv[2]), strtoul(argv[3], NULL, 10));
    fprintf(stderr, "usage: load ADDRESS CONNECTIONS BYTES | load hold ADDRESS CONNECTIONS | load serve\n");
    return 2;
}
