// What a TLS record costs in the kernel: time of send and recv on a loopback connection, plain, with
// the kernel's TLS for sending, and for both directions (TLS 1.3, AES-128-GCM, made-up keys).
// Where time is a count of instructions, so are the figures: benches/README.md, "Kernel TLS".
//
//   gcc -O2 -static -o cost benches/ktls/cost.c && ./cost
#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

enum { ROUNDS = 2000, WARM_UP = 200, RECORD_EXTRA = 5 + 1 + 16 };

static void need(int ok, const char *what) {
  if (!ok) {
    perror(what);
    exit(1);
  }
}

static long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void connect_pair(int *from, int *to) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof at;
  int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
  need(bind(listener, (void *)&at, sizeof at) == 0 && listen(listener, 1) == 0, "listen");
  getsockname(listener, (void *)&at, &size);
  *from = socket(AF_INET, SOCK_STREAM, 0);
  need(connect(*from, (void *)&at, sizeof at) == 0, "connect");
  *to = accept(listener, NULL, NULL);
  close(listener);
  setsockopt(*from, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(*to, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static void use_kernel_tls(int socket, int direction) {
  struct tls12_crypto_info_aes_gcm_128 with = {
      .info = {TLS_1_3_VERSION, TLS_CIPHER_AES_GCM_128}};
  memset(with.key, 7, sizeof with.key);
  memset(with.iv, 3, sizeof with.iv);
  need(setsockopt(socket, IPPROTO_TCP, TCP_ULP, "tls", 3) == 0, "TCP_ULP tls");
  need(setsockopt(socket, SOL_TLS, direction, &with, sizeof with) == 0, "keys");
}

static void measure(int bytes, int mode) {
  static const char *const names[] = {"plain", "tx", "tx+rx"};
  static char buffer[1 << 16];
  int from, to;
  connect_pair(&from, &to);
  if (mode > 0) use_kernel_tls(from, TLS_TX);
  if (mode > 1) use_kernel_tls(to, TLS_RX);
  int expected = mode == 1 ? bytes + RECORD_EXTRA : bytes;
  long send_ns = 0, receive_ns = 0;
  for (int i = 0; i < ROUNDS + WARM_UP; i++) {
    long begin = now_ns();
    need(send(from, buffer, bytes, MSG_NOSIGNAL) == bytes, "send");
    long sent = now_ns();
    for (int got = 0, step; got < expected; got += step) {
      step = recv(to, buffer, sizeof buffer, 0);
      need(step > 0, "recv");
    }
    long received = now_ns();
    long clock_ns = now_ns() - received; // what one look at the clock takes
    if (i >= WARM_UP) {
      send_ns += sent - begin - clock_ns;
      receive_ns += received - sent - clock_ns;
    }
  }
  printf("bytes=%d mode=%s send=%ld receive=%ld\n", bytes, names[mode], send_ns / ROUNDS,
         receive_ns / ROUNDS);
  close(from);
  close(to);
}

int main(void) {
  static const int sizes[] = {13, 155, 416, 832, 4960, 9920, 16384};
  for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++)
    for (int mode = 0; mode < 3; mode++) measure(sizes[i], mode);
  return 0;
}
