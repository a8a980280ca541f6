/* The job that Python hands over: tables of 64-bit numbers. bytecode.py builds them and names the same columns. */
#ifndef CELLSEARCH_FORMAT_H
#define CELLSEARCH_FORMAT_H

#include <stdint.h>

#define FORMAT 7

/* Where a slot of a buffer lies in time. Slots are ``step_stride`` floats apart, rows ``row_stride``. */
enum {
    TIME,  /* slot t + shift */
    CHUNK, /* slot t + shift - first step of the chunk */
    RING,  /* slot (t + shift) modulo the number of slots */
    STEP,  /* one slot, used again in each step */
    FIXED  /* one slot of one row, the same for all rows (row_stride 0) */
};

typedef struct {
    float *base;
    int64_t floats; /* size of the memory behind base */
    int64_t kind, slots, step_stride, row_stride;
} Buffer;

/* A place: columns of a buffer at a time shift. ``buffer`` < 0: scratch register -1 - buffer (pointwise commands only). */
typedef struct {
    int64_t buffer, shift, column;
} Operand;

/* d = op(a, b, c, number); operands are numbered within the command. ``number``: the bits of a float. */
typedef struct {
    int64_t op, d, a, b, c, number;
} Instruction;

enum { POINTWISE, PRODUCT, OUTER, GATHER, SCATTER };

/* POINTWISE: run instructions on blocks of rows of ``width`` columns. ``depth`` of them are sums over rows; where several threads run,
 *            those of each row of the chunk lie ``packed`` floats for each such row behind the start of all.
 * PRODUCT:   C[rows, width] = start + A[rows, depth] * weights, ``first``..: pieces of the packed matrix [depth, width].
 * OUTER:     for each piece: gradient[width of the piece, depth] += A[rows, ...]^T * C[rows, depth]; A holds ``width`` columns.
 * GATHER:    A[row, width] = (or, with start 1, +=) table[token of the row, ``packed``...]; a row of the table has ``depth`` columns.
 * SCATTER:   table[token of the row, ``packed``...] += A[row, width]; in bf16 of A rounded. ``first`` is the table's buffer in both. */
typedef struct {
    int64_t kind;
    int64_t first, count;             /* instructions, or pieces */
    int64_t operand, operands;        /* first operand, how many; PRODUCT and OUTER: A, C and (PRODUCT) the bias row */
    int64_t width, depth;
    int64_t start;                    /* PRODUCT: how the result begins */
    int64_t packed;                   /* PRODUCT: place in the area of packed weights, in floats */
} Command;

/* A part of a matrix: a weight (or its gradient), or a block of it, at a row and column of the matrix. */
typedef struct {
    int64_t buffer, row, column, rows, columns;
    int64_t transposed; /* PRODUCT: the weight is stored [columns, rows]; OUTER: 1 if this is the first to write the gradient */
    int64_t offset;     /* where in the buffer it begins, in floats */
} Piece;

/* A carried value begins as ``initial`` when its row becomes active. */
typedef struct {
    int64_t state, initial; /* operands: the place that a step reads, and where the initial value lies */
} Carried;

enum { PROLOGUE, BEFORE, LOOP, AFTER, GRADIENTS, EPILOGUE, PHASES };

typedef struct {
    int64_t format;
    int64_t steps, rows, chunk; /* T, B, steps in a chunk */
    int64_t backwards;          /* 1: from the last step to the first */
    int64_t together;           /* 1: commands before and after the loop may treat a chunk as one block of rows */
    int64_t blocked;            /* 1: the loop has no product, so a block of rows may run through a whole chunk */
    int64_t direct;             /* 1: few rows: use weights without packing them */
    int64_t bf16;               /* 1: both factors of every product are rounded to bfloat16, see bf16.h */
    int64_t threads;            /* at most so many run it */
    int64_t registers, register_floats;
    int64_t scratch_floats; /* for each thread, side by side */
    int64_t sums_floats;    /* behind them: for sums of blocks of rows, where there are several threads */
    int64_t packed_floats;
    float *scratch, *packed;
    const int64_t *tokens; /* [steps, rows] rows of a table; NULL: there are none */
    int64_t vocabulary;    /* rows of the table */
    const int64_t *active; /* [steps] active rows of each step, never increasing; NULL: all */
    int64_t buffers, operands, instructions, commands, pieces, carried;
    const Buffer *buffer;
    const Operand *operand;
    const Instruction *instruction;
    const Command *command;
    const Piece *piece;
    const Carried *carry;
    int64_t phase[PHASES + 1]; /* first command of each phase, and the end */
} Job;

/* What is copied after a run: ``bytes`` from ``place`` bytes behind the address of number ``area`` to that of number ``to`` (0: not). */
typedef struct {
    int64_t area, place, to, bytes;
} Copy;

/* A run at addresses: buffer k of the job lies ``place[k]`` bytes behind address number ``area[k]``. The first one is the scratch
 * memory, in which the packed weights lie ``packed`` bytes from the start. */
typedef struct {
    Job *job;
    const int64_t *area, *place;
    const Copy *copy;
    int64_t copies, packed;
    char *address[];
} Call;

/* A readout and its cross entropy, see loss.h. Without rows what has rows may be NULL. */
typedef struct {
    int64_t format;
    int64_t rows, depth, classes;
    const float *hidden, *weight, *bias; /* [rows, depth], [classes, depth], [classes] or NULL */
    const int64_t *target;               /* [rows] classes; -1: the row does not count */
    float *d_hidden, *d_weight, *d_bias; /* gradients of the sum of the losses: all of them, or NULL */
    double *total;                       /* that sum */
    float *scratch;
    int64_t scratch_floats;
} Loss;

enum {
    OK,
    BAD_FORMAT,
    BAD_SIZE,
    BAD_BUFFER,
    BAD_OPERAND,
    BAD_INSTRUCTION,
    BAD_COMMAND,
    BAD_PIECE,
    BAD_CARRIED,
    BAD_ACTIVE,
    BAD_SCRATCH,
    BAD_TOKEN
};

#define BLOCK 512 /* floats of a scratch register: with the operands of a stage it fits the first-level cache */
#define OUTER_ROWS 256 /* rows that a weight gradient adds at once */
#define OUTER_COLUMNS 96 /* columns of the left factor that are packed at once */

#endif
