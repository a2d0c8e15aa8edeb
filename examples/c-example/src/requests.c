#include "requests.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The function behind task.sleep. */
#define SLEEP UINT32_MAX

/* How answers begin. The last one is complete: it ends the run, and the script can't catch it. */
static const uint8_t results[] = {0};
static const uint8_t failed[] = {1, 1, 0, 0, 0, 0}; /* the message gets the place of the call in front */
static const uint8_t waiting[] = {4};
static const uint8_t interrupted[] = {2, 6, 0, 0, 0};

/* Puts more bytes behind others; false when there is no memory. */
static bool append(uint8_t **bytes, size_t *length, const void *more, size_t more_length) {
  uint8_t *grown = realloc(*bytes, *length + more_length + 1); /* never of size 0 */
  if (grown == NULL) return false;
  if (more_length > 0) memcpy(grown + *length, more, more_length);
  *bytes = grown;
  *length += more_length;
  return true;
}

static uint32_t number_at(const uint8_t *bytes) {
  return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* ---- open requests ---- */

static int compare(const void *a, const void *b) {
  uint32_t left = ((const Request *)a)->id;
  uint32_t right = ((const Request *)b)->id;
  return (left > right) - (left < right);
}

static Request *find(const Requests *requests, uint32_t id) {
  Request wanted = {.id = id};
  void *node = tfind(&wanted, &requests->root, compare);
  return node != NULL ? *(Request **)node : NULL;
}

static void drop(Requests *requests, Request *request) {
  if (request == NULL) return;
  tdelete(request, &requests->root, compare);
  *(request->previous != NULL ? &request->previous->next : &requests->first) = request->next;
  *(request->next != NULL ? &request->next->previous : &requests->last) = request->previous;
  message_free(&request->args);
  free(request);
}

static void drop_all(Requests *requests) {
  while (requests->first != NULL) drop(requests, requests->first);
}

static bool add(Requests *requests, uint32_t id, const char *name, const uint8_t *args, size_t length) {
  Request *request = calloc(1, sizeof *request);
  if (request == NULL) return false;
  drop(requests, find(requests, id)); /* there is none, if the guest keeps to its contract */
  request->id = id;
  request->name = name;
  if (message_decode(&request->args, args, length) != NULL || tsearch(request, &requests->root, compare) == NULL) {
    message_free(&request->args);
    free(request);
    return false;
  }
  request->previous = requests->last;
  *(requests->last != NULL ? &requests->last->next : &requests->first) = request;
  requests->last = request;
  return true;
}

/* ---- the host channel ---- */

bool requests_declare(Requests *requests, const char *name, uint32_t *number) {
  char **names = realloc(requests->names, (requests->name_count + 1) * sizeof *names);
  if (names == NULL) return false;
  requests->names = names;
  names[requests->name_count] = strdup(name);
  if (names[requests->name_count] == NULL) return false;
  *number = (uint32_t)requests->name_count++;
  return true;
}

static bool say(Requests *requests, const void *bytes, size_t length) {
  requests->said_length = 0;
  return append(&requests->said, &requests->said_length, bytes, length);
}

/* Puts an answer together, behind what `bytes` holds. */
static bool append_answer(uint8_t **bytes, size_t *length, const uint8_t *status, size_t status_length,
                          const Message *values) {
  size_t encoded_length = 0;
  uint8_t *encoded = message_encode(values, &encoded_length);
  bool good = encoded != NULL && append(bytes, length, status, status_length) && append(bytes, length, encoded, encoded_length);
  free(encoded);
  return good;
}

/* What is said in a run that was not started. */
static bool say_nobody_answers(Requests *requests, const char *name) {
  static const char text[] = "'%s' is answered by whoever starts the run";
  size_t size = sizeof text + strlen(name);
  char *message = malloc(size);
  if (message == NULL) return false;
  snprintf(message, size, text, name);
  Value value = value_string(message);
  requests->said_length = 0;
  bool good = append_answer(&requests->said, &requests->said_length, failed, sizeof failed, &(Message){.values = &value, .count = 1});
  free(message);
  return good;
}

/* Where the script can't wait (not `later`), the guest tells it so. */
static bool call(Requests *requests, const uint8_t *request, size_t length, bool later) {
  uint32_t number = number_at(request + 1);
  const char *name = number == SLEEP ? "task.sleep" : NULL;
  if (number < requests->name_count) name = requests->names[number];
  if (name == NULL) return false;
  if (!requests->started) return say_nobody_answers(requests, name);
  if (later && !add(requests, number_at(request + 5), name, request + 9, length - 9)) return false;
  return say(requests, waiting, sizeof waiting);
}

bool requests_handle(Requests *requests, const uint8_t *request, size_t length) {
  switch (length > 0 ? request[0] : 0xff) {
    case 0x00: /* what was said just now, for which the buffer was too small */
      return requests->said != NULL;
    case 0x01:
      return length >= 5 && call(requests, request, length, false);
    case 0x09:
      return length >= 9 && call(requests, request, length, true);
    case 0x0a: /* nobody waits for this one any more */
      if (length >= 5) drop(requests, find(requests, number_at(request + 1)));
      return say(requests, NULL, 0);
    default:
      return false;
  }
}

/* ---- answers ---- */

static void put_number(uint8_t *place, size_t number) {
  for (int i = 0; i < 4; i++) place[i] = (uint8_t)(number >> (8 * i));
}

/* Adds an answer to those for `resume`: all of it or, when it can't be sent, nothing. */
static bool add_answer(Requests *requests, uint32_t id, const uint8_t *status, size_t status_length, const Message *values) {
  size_t before = requests->answers_length, start = before + 8;
  uint8_t head[8] = {0};
  put_number(head, id);
  bool good = append(&requests->answers, &requests->answers_length, head, sizeof head) &&
              append_answer(&requests->answers, &requests->answers_length, status, status_length, values) &&
              requests->answers_length - start <= UINT32_MAX;
  if (good) put_number(requests->answers + before + 4, requests->answers_length - start);
  else requests->answers_length = before;
  return good;
}

static Settled settle(Requests *requests, uint32_t id, const uint8_t *status, size_t status_length, const Message *values) {
  Request *request = find(requests, id);
  if (request == NULL) return NO_REQUEST;
  if (!add_answer(requests, id, status, status_length, values)) return UNSENDABLE;
  drop(requests, request);
  return SETTLED;
}

Settled requests_answer(Requests *requests, uint32_t id, const Message *values) {
  return settle(requests, id, results, sizeof results, values);
}

Settled requests_fail(Requests *requests, uint32_t id, const char *message) {
  Value value = value_string(message);
  return settle(requests, id, failed, sizeof failed, &(Message){.values = &value, .count = 1});
}

bool requests_interrupt(Requests *requests) {
  uint32_t id = 0; /* of no request */
  if (requests->first != NULL) id = requests->first->id;
  else if (requests->answers_length >= 4) id = number_at(requests->answers);
  drop_all(requests);
  requests->answers_length = 0;
  return add_answer(requests, id, interrupted, sizeof interrupted, &(Message){0});
}

void requests_begin(Requests *requests) {
  requests->started = true;
  requests->answers_length = 0;
}

void requests_end(Requests *requests) {
  requests->started = false;
  drop_all(requests);
}

void requests_free(Requests *requests) {
  requests_end(requests);
  for (size_t i = 0; i < requests->name_count; i++) free(requests->names[i]);
  free(requests->names);
  free(requests->answers);
  free(requests->said);
  *requests = (Requests){0};
}
