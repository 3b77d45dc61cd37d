/* Clients that stay connected and play ping-pong, all in one thread over epoll; load.py in C.

   ping PORT CONNECTIONS SIZE: for each line, which says for how many seconds they shall play, it
   prints the answers received and the seconds that it took. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 1024, LARGEST = 65536, PATIENCE = 60000 /* milliseconds */ };

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    int port = atoi(argv[1]), connections = atoi(argv[2]), size = atoi(argv[3]), on = 1;
    static char buffer[LARGEST];
    static int missing[LARGEST];
    struct epoll_event events[BATCH];
    int epoll = epoll_create1(0), fds[connections];
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < connections; i++) {
        int fd = fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (fd >= LARGEST || connect(fd, (void *)&address, sizeof address)) return 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct epoll_event its = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &its);
    }
    memset(buffer, 'x', sizeof buffer);
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        double start = now(), end = start + atof(line);
        long answers = 0;
        int playing = connections;
        for (int i = 0; i < connections; i++) {
            missing[fds[i]] = size;
            if (send(fds[i], buffer, size, 0) != size) return 1;
        }
        while (playing) {
            int count = epoll_wait(epoll, events, BATCH, PATIENCE);
            if (count <= 0) return 1; /* the server hangs */
            int over = now() >= end;
            for (int i = 0; i < count; i++) {
                int fd = events[i].data.fd;
                ssize_t got = recv(fd, buffer, size, MSG_DONTWAIT);
                if (got <= 0) return 1;
                missing[fd] -= got;
                if (missing[fd]) continue;
                answers++;
                missing[fd] = size;
                if (over) playing--;
                else if (send(fd, buffer, size, 0) != size) return 1;
            }
        }
        printf("%ld %f\n", answers, now() - start);
        fflush(stdout);
    }
    return 0;
}
