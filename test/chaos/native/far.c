/*
 * Carries frames between two network devices, and hands each on MS milliseconds after it came: a long line.
 *
 *     far DEVICE DEVICE MS
 *
 * Says `far` on standard output when it carries, and ends with its standard input. Linux, root.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Devices without a wire hand on segments of up to 64 KiB as one frame, behind a header that says how to cut them. */
#define MAX_FRAME (sizeof(struct virtio_net_hdr) + 64 * 1024 + 64)
/* What is on the way in one direction. A frame beyond that is lost, as in a router that is full. */
#define MAX_BYTES (64 * 1024 * 1024)
#define NS_PER_MS 1000000LL

struct frame {
  struct frame *next;
  int64_t due;
  size_t length;
  char bytes[];
};

/* All frames of a direction take equally long, so they stay in order. */
struct direction {
  int from, to;
  struct frame *first, *last;
  size_t bytes;
};

static void die(const char *what) {
  fprintf(stderr, "far: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000 * NS_PER_MS + time.tv_nsec;
}

static int open_device(const char *name) {
  int on = 1;
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
  /* No protocol before it is bound, so that it gets no frame of another device. */
  int device = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0);
  if (device < 0) die("socket");
  if (setsockopt(device, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) < 0) die("PACKET_VNET_HDR");
  if (setsockopt(device, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) < 0) die("PACKET_IGNORE_OUTGOING");
  address.sll_ifindex = (int)if_nametoindex(name);
  if (address.sll_ifindex == 0 || bind(device, (struct sockaddr *)&address, sizeof address) < 0) die(name);
  return device;
}

static void take(struct direction *line, int64_t delay) {
  static char buffer[MAX_FRAME];
  ssize_t length;
  while ((length = recv(line->from, buffer, sizeof buffer, 0)) > 0) {
    struct frame *frame;
    if (line->bytes + (size_t)length > MAX_BYTES) continue;
    frame = malloc(sizeof *frame + (size_t)length);
    if (frame == NULL) die("malloc");
    frame->next = NULL;
    frame->due = now() + delay;
    frame->length = (size_t)length;
    memcpy(frame->bytes, buffer, frame->length);
    /* The other flags are for receivers. */
    ((struct virtio_net_hdr *)frame->bytes)->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
    if (line->first == NULL) line->first = frame;
    else line->last->next = frame;
    line->last = frame;
    line->bytes += frame->length;
  }
}

static void give(struct direction *line, int64_t until) {
  while (line->first != NULL && line->first->due <= until) {
    struct frame *frame = line->first;
    /* Without success, the frame is lost, as on any line. */
    (void)!send(line->to, frame->bytes, frame->length, 0);
    line->first = frame->next;
    line->bytes -= frame->length;
    free(frame);
  }
}

int main(int count, char **arguments) {
  struct direction lines[2] = {{0}, {0}};
  struct pollfd polled[3];
  int64_t delay;
  if (count != 4) {
    fputs("usage: far DEVICE DEVICE MS\n", stderr);
    return 2;
  }
  delay = atoll(arguments[3]) * NS_PER_MS;
  lines[0].from = lines[1].to = open_device(arguments[1]);
  lines[0].to = lines[1].from = open_device(arguments[2]);
  polled[0] = (struct pollfd){.fd = lines[0].from, .events = POLLIN};
  polled[1] = (struct pollfd){.fd = lines[1].from, .events = POLLIN};
  polled[2] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
  puts("far");
  fflush(stdout);
  for (;;) {
    int64_t wait = INT64_MAX;
    struct timespec timeout;
    for (int i = 0; i < 2; i++)
      if (lines[i].first != NULL && lines[i].first->due - now() < wait) wait = lines[i].first->due - now();
    if (wait < 0) wait = 0;
    timeout = (struct timespec){.tv_sec = wait / (1000 * NS_PER_MS), .tv_nsec = wait % (1000 * NS_PER_MS)};
    if (ppoll(polled, 3, wait == INT64_MAX ? NULL : &timeout, NULL) < 0 && errno != EINTR) die("poll");
    for (int i = 0; i < 2; i++) {
      take(&lines[i], delay);
      /* At the end, nothing stays on the way. */
      give(&lines[i], polled[2].revents != 0 ? INT64_MAX : now());
    }
    if (polled[2].revents != 0) return 0;
  }
}
