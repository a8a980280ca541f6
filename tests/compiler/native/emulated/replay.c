/* Runs a job of the native runtime that another machine has written down: pieces of memory with the addresses that they had there.
 *
 *   replay sizes       prints what cellsearch_size, cellsearch_path, cellsearch_bf16_path and cellsearch_opcode say
 *   replay run FILE    reads a job and writes the memory back that it may have changed
 *
 * FILE: number of pieces; for each its address, its bytes, and whether it is written back (64-bit numbers); then the contents of all
 * pieces. The first one is the job itself. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "format.h"

int cellsearch_run(const Job *job);
int64_t cellsearch_size(int what);
const char *cellsearch_opcode(int number);
const char *cellsearch_path(void);
const char *cellsearch_bf16_path(void);

typedef struct {
    uint64_t address, bytes, changes;
    char *data;
} Part;

static int64_t parts;
static Part *part;

static void need(int right, const char *what) {
    if (!right) {
        fprintf(stderr, "replay: %s\n", what);
        exit(3);
    }
}

/* Where a pointer of the other machine points to here. */
static void *moved(const void *pointer) {
    const uint64_t address = (uint64_t)(uintptr_t)pointer;
    for (int64_t i = 0; i < parts && address; i++)
        if (part[i].address <= address && address < part[i].address + part[i].bytes) return part[i].data + (address - part[i].address);
    need(!address, "a pointer leads to memory that was not written down");
    return 0;
}

static void move_pointers(Job *job) {
    job->scratch = moved(job->scratch);
    job->packed = job->packed_floats ? moved(job->packed) : job->scratch;
    job->tokens = moved(job->tokens);
    job->active = moved(job->active);
    Buffer *buffer = moved(job->buffer);
    for (int64_t i = 0; i < job->buffers; i++) buffer[i].base = moved(buffer[i].base);
    job->buffer = buffer;
    job->operand = job->operands ? moved(job->operand) : 0;
    job->instruction = job->instructions ? moved(job->instruction) : 0;
    job->command = job->commands ? moved(job->command) : 0;
    job->piece = job->pieces ? moved(job->piece) : 0;
    job->carry = job->carried ? moved(job->carry) : 0;
}

static void run(const char *name) {
    FILE *file = fopen(name, "r+b");
    need(file && fread(&parts, 8, 1, file) == 1, "the file cannot be read");
    part = calloc((size_t)parts, sizeof *part);
    for (int64_t i = 0; i < parts; i++) need(fread(part + i, 8, 3, file) == 3, "the table of pieces is cut off");
    for (int64_t i = 0; i < parts; i++) {
        const uint64_t offset = part[i].address % 64; /* as it was aligned there */
        part[i].data = (char *)aligned_alloc(64, (part[i].bytes + offset + 63) / 64 * 64) + offset;
        need(fread(part[i].data, 1, part[i].bytes, file) == part[i].bytes, "a piece is cut off");
    }
    Job *job = (Job *)part[0].data;
    move_pointers(job);
    const int code = cellsearch_run(job);
    rewind(file);
    for (int64_t i = 0; i < parts; i++)
        if (part[i].changes) need(fwrite(part[i].data, 1, part[i].bytes, file) == part[i].bytes, "the file cannot be written");
    need(fclose(file) == 0, "the file cannot be written");
    printf("%d\n", code);
}

int main(int count, char **arguments) {
    if (count == 3) {
        run(arguments[2]);
        return 0;
    }
    for (int i = 0; cellsearch_size(i) >= 0; i++) printf("%lld ", (long long)cellsearch_size(i));
    printf("\n%s\n%s\n", cellsearch_path(), cellsearch_bf16_path());
    for (int i = 0; cellsearch_opcode(i); i++) printf("%s ", cellsearch_opcode(i));
    printf("\n");
    return 0;
}
