/* Calls of declared functions: each is a request, which whoever started the run answers. Until then nothing of the run is
 * on any stack. */
#ifndef REQUESTS_H
#define REQUESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "value.h"

/* A call that waits for its answer. */
typedef struct Request {
  uint32_t id;
  const char *name; /* the function's */
  Message args;
  struct Request *next; /* in the order of the ids */
  struct Request *previous;
} Request;

/* To be zeroed at first and freed with requests_free. */
typedef struct Requests {
  bool started; /* is there a run that its starter answers? */
  Request *first, *last; /* what it waits for */
  void *root; /* tree of the same, by id */
  char **names;
  size_t name_count;
  uint8_t *answers; /* those that were given, as the export resume takes them */
  size_t answers_length;
  uint8_t *said; /* what the guest was told last */
  size_t said_length;
} Requests;

void requests_free(Requests *requests);

/* Gives a function its number; false when there is no memory. */
bool requests_declare(Requests *requests, const char *name, uint32_t *number);

/* Takes what the guest asks on the host channel. The answer is in `said`; false for what this host does not offer. */
bool requests_handle(Requests *requests, const uint8_t *request, size_t length);

/* Takes the answer to an open request, values or an error. */
typedef enum { SETTLED, NO_REQUEST, UNSENDABLE } Settled;
Settled requests_answer(Requests *requests, uint32_t id, const Message *values);
Settled requests_fail(Requests *requests, uint32_t id, const char *message);

/* Makes an answer that ends the run the only one, if it waits for anything; false when there is no memory. */
bool requests_interrupt(Requests *requests);

/* The run goes: the guest has the answers. */
void requests_begin(Requests *requests);

/* The run has ended: nobody waits for anything any more. */
void requests_end(Requests *requests);

#endif
