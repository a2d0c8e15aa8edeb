#include "server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct sockaddr_in local(int port) {
  struct sockaddr_in address;
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons((uint16_t)port);
  return address;
}

/* A port that nobody has at this moment. */
static int free_port(void) {
  struct sockaddr_in address = local(0);
  socklen_t size = sizeof address;
  int handle = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(handle, (struct sockaddr *)&address, size) != 0) return 0;
  getsockname(handle, (struct sockaddr *)&address, &size);
  close(handle);
  return ntohs(address.sin_port);
}

static bool answers(int port) {
  struct sockaddr_in address = local(port);
  int handle = socket(AF_INET, SOCK_STREAM, 0);
  bool there = connect(handle, (struct sockaddr *)&address, sizeof address) == 0;
  close(handle);
  return there;
}

bool server_start(Server *server, const char *folder, char *problem, size_t problem_size) {
  char port[16];
  server->port = free_port();
  snprintf(port, sizeof port, "%d", server->port);
  server->process = fork();
  if (server->process == 0) {
    int nothing = open("/dev/null", O_RDWR);
    dup2(nothing, 1), dup2(nothing, 2);
    execlp("redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", folder, (char *)NULL);
    _exit(127);
  }
  while (!answers(server->port)) {
    int status;
    if (waitpid(server->process, &status, WNOHANG) != 0) {
      snprintf(problem, problem_size, "redis-server ended; apt-get install redis-server");
      return false;
    }
    poll(NULL, 0, 10);
  }
  return true;
}

void server_stop(Server *server) {
  kill(server->process, SIGTERM);
  waitpid(server->process, NULL, 0);
}
