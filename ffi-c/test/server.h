/* A Redis server for one test. */
#ifndef SERVER_H
#define SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct Server {
  pid_t process;
  int port;
} Server;

/* Starts one that answers; `problem` is filled in when that fails. */
bool server_start(Server *server, const char *folder, char *problem, size_t problem_size);
void server_stop(Server *server);

#endif
