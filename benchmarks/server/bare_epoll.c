/* The peer: an epoll loop in C, a process per core, one shared listener. Echoes. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <signal.h>
#include <unistd.h>

enum { BATCH = 1024, SIZE = 1000 };

static void serve(int listener) {
    int epoll = epoll_create1(0), on = 1;
    struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.fd = listener};
    struct epoll_event events[BATCH];
    char buffer[SIZE];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(epoll, events, BATCH, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int conn = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                if (conn < 0) continue;
                setsockopt(conn, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                struct epoll_event its = {.events = EPOLLIN, .data.fd = conn};
                epoll_ctl(epoll, EPOLL_CTL_ADD, conn, &its);
                /* anew after each accept, so that the workers take turns */
                epoll_ctl(epoll, EPOLL_CTL_DEL, listener, NULL);
                epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
                continue;
            }
            ssize_t size = recv(fd, buffer, SIZE, 0);
            if (size <= 0 || send(fd, buffer, size, MSG_NOSIGNAL) != size) close(fd);
        }
    }
}

int main(int argc, char **argv) {
    int workers = argc > 1 ? atoi(argv[1]) : 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (void *)&address, size) || listen(listener, 1024)) return 1;
    getsockname(listener, (void *)&address, &size);
    for (int i = 0; i < workers; i++) {
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            serve(listener);
        }
    }
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    while (getchar() != EOF) {} /* until the benchmark lets go of us */
    return 0;
}
