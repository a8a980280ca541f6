/* Runs a cell over time: checks the job, then steps through it chunk by chunk. See format.h for what a job is.
 *
 * A chunk is a run of steps whose intermediate values stay in the second-level cache. In each chunk the commands before the loop
 * (what does not depend on carried values) run on all its rows at once, then the time loop, then the commands after it, then the
 * chunk's share of the weight gradients. Results do not depend on the machine's load or on the number of threads: every sum has a
 * fixed order. */
#include "pointwise.h"
#include "format.h"
#include "product.h"
#include "bf16.h"
#include "threads.h"
#include "outer.h"
#include "loss.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* -- checks: after these, no command reads or writes outside the memory that it was given ------------------------------------- */

static int active_rows(const Job *job, int64_t t) { return (int)(job->active ? job->active[t] : job->rows); }

static int buffer_fits(const Job *job, const Buffer *b) {
    const int64_t limit = INT64_C(1) << 40;
    if (!b->base || b->kind < TIME || b->kind > FIXED || b->slots < 1 || b->floats < 1 || b->floats > limit) return 0;
    if (b->slots > limit || b->step_stride < 0 || b->step_stride > limit || b->row_stride < 0 || b->row_stride > limit) return 0;
    if (b->kind == FIXED) return b->slots == 1 && b->row_stride == 0;
    if (b->kind == STEP && b->slots != 1) return 0;
    if (b->row_stride < 1 || job->rows > limit / b->row_stride) return 0;
    if (b->slots > 1 && (b->step_stride < job->rows * b->row_stride || b->slots - 1 > limit / b->step_stride)) return 0;
    return (b->slots - 1) * b->step_stride + job->rows * b->row_stride <= b->floats;
}

/* How a command runs: once, position by position, or with all rows of a chunk as one block. */
enum { ONCE, IN_TIME, TOGETHER };

/* Columns [column, column + width) at every position that the command visits. */
static int place_fits(const Job *job, const Operand *o, int64_t width, int mode) {
    if (o->buffer < 0 || o->buffer >= job->buffers || o->column < 0 || width < 1) return 0;
    const Buffer *b = job->buffer + o->buffer;
    if (o->column > (INT64_C(1) << 40) || width > (INT64_C(1) << 40) || o->shift < 0 || o->shift > 1) return 0;
    if (b->kind == FIXED) return o->shift == 0 && o->column + width <= b->floats;
    if (mode == ONCE || o->column + width > b->row_stride) return 0;
    if (mode == TOGETHER && (b->kind == RING || b->kind == STEP)) return 0;
    if (mode == TOGETHER && b->slots > 1 && b->step_stride != job->rows * b->row_stride) return 0;
    if (b->kind == TIME) return job->steps + o->shift <= b->slots;
    if (b->kind == CHUNK) return smaller(job->chunk, job->steps) + o->shift <= b->slots;
    return 1;
}

/* Whether a row of ``width`` numbers can be cut into so many equal parts. */
static int divides(float parts, int64_t width) {
    return parts >= 1.0f && parts <= (float)width && parts == (float)(int64_t)parts && width % (int64_t)parts == 0;
}

static int is_sum(const Instruction *in) { return in->op == OP_TOTAL || in->op == OP_TOTAL_MUL; }

static int check_pointwise(const Job *job, const Command *c, int mode) {
    if (c->first < 0 || c->count < 0 || c->count > job->instructions || c->first > job->instructions - c->count) return BAD_COMMAND;
    if (c->operands > MAX_OPERANDS || c->width < 1) return BAD_COMMAND;
    if (job->register_floats < c->width || job->register_floats < BLOCK) return BAD_SCRATCH;
    int64_t columns[MAX_OPERANDS]; /* of each operand, as many as an instruction touches; 1 for none */
    for (int64_t i = 0; i < c->operands; i++) {
        const int64_t number = job->operand[c->operand + i].buffer;
        if (number < 0 ? -1 - number >= job->registers : number >= job->buffers) return BAD_OPERAND;
        columns[i] = 1;
    }
    int64_t summed = 0;
    for (int64_t i = 0; i < c->count; i++) {
        const Instruction *in = job->instruction + c->first + i;
        if (in->op < 0 || in->op >= OPCODE_COUNT) return BAD_INSTRUCTION;
        const int64_t places[4] = {in->d, in->a, in->b, in->c};
        for (int k = 0; k < 4; k++) {
            if (places[k] < 0 || places[k] >= c->operands) return BAD_INSTRUCTION;
            const int64_t touched = k == 1 ? columns_read(in->op, c->width) : c->width;
            if (columns[places[k]] < touched) columns[places[k]] = touched;
        }
        const Operand *d = job->operand + c->operand + in->d, *a = job->operand + c->operand + in->a;
        if ((in->op == OP_TWICE || in->op == OP_PAIRS) && (a->buffer < 0 || in->a == in->d)) return BAD_INSTRUCTION; /* registers have one width */
        if ((in->op == OP_HEAD_NORM || in->op == OP_HEAD_NORM_GRADIENT) && !divides(from_bits((int32_t)in->number), c->width)) return BAD_INSTRUCTION;
        const int fixed = d->buffer >= 0 && job->buffer[d->buffer].kind == FIXED;
        const int sums = is_sum(in);
        summed += sums;
        if (sums && !fixed) return BAD_INSTRUCTION; /* sums over rows go to one row */
        if (!sums && fixed && mode != ONCE) return BAD_INSTRUCTION;
        if ((in->op == OP_FOLD || in->op == OP_BROADCAST) && mode != ONCE) return BAD_INSTRUCTION;
    }
    for (int64_t i = 0; i < c->operands; i++) {
        const Operand *o = job->operand + c->operand + i;
        if (o->buffer >= 0 && !place_fits(job, o, columns[i], mode)) return BAD_OPERAND;
    }
    if (job->threads > 1 && mode != ONCE) {
        const int64_t rows = smaller(job->chunk, job->steps) * job->rows;
        if (c->depth != summed || c->packed < 0 || c->packed > job->sums_floats) return BAD_COMMAND;
        if (c->packed + summed * c->width > job->sums_floats / rows) return BAD_SCRATCH;
    }
    return OK;
}

static int check_pieces(const Job *job, const Command *c) {
    if (c->first < 0 || c->count < 1 || c->count > job->pieces || c->first > job->pieces - c->count) return BAD_COMMAND;
    for (int64_t i = 0; i < c->count; i++) {
        const Piece *p = job->piece + c->first + i;
        int64_t depth = c->kind == PRODUCT ? c->depth : c->width, width = c->kind == PRODUCT ? c->width : c->depth;
        if (p->buffer < 0 || p->buffer >= job->buffers || job->buffer[p->buffer].kind != FIXED) return BAD_PIECE;
        if (p->row < 0 || p->column < 0 || p->rows < 1 || p->columns < 1 || p->rows > depth || p->columns > width) return BAD_PIECE;
        if (p->row > depth - p->rows || p->column > width - p->columns) return BAD_PIECE;
        if (p->offset < 0 || p->offset > job->buffer[p->buffer].floats) return BAD_PIECE;
        if (p->rows > (job->buffer[p->buffer].floats - p->offset) / p->columns || (p->transposed & ~INT64_C(1))) return BAD_PIECE;
        if (c->kind == OUTER && (p->column != 0 || p->columns != c->depth)) return BAD_PIECE;
    }
    return OK;
}

static int check_matrix(const Job *job, const Command *c, int mode) {
    const int64_t limit = 1 << 24;
    const Operand *o = job->operand + c->operand;
    if (c->width < 1 || c->depth < 1 || c->width > limit || c->depth > limit) return BAD_COMMAND;
    if (c->operands != (c->kind == PRODUCT && c->start == START_BIAS ? 3 : 2)) return BAD_COMMAND;
    if (!place_fits(job, o, c->kind == PRODUCT ? c->depth : c->width, mode)) return BAD_OPERAND;
    if (!place_fits(job, o + 1, c->kind == PRODUCT ? c->width : c->depth, mode)) return BAD_OPERAND;
    if (c->kind == PRODUCT) {
        const int fixed = job->buffer[o[1].buffer].kind == FIXED;
        if (fixed && mode != ONCE) return BAD_OPERAND;
        if (c->start < START_ZERO || c->start > START_BIAS) return BAD_COMMAND;
        if (c->operands == 3 && (!place_fits(job, o + 2, c->width, mode) || job->buffer[o[2].buffer].kind != FIXED)) return BAD_OPERAND;
        int64_t size = job->bf16 ? cells_packed(c->width, c->depth) : panels(c->width) * PANEL * c->depth;
        if (c->packed < 0 || c->packed > job->packed_floats || size > job->packed_floats - c->packed) return BAD_SCRATCH;
        if (job->bf16 && cells_left(c->depth) > job->scratch_floats) return BAD_SCRATCH;
    } else if (outer_scratch(c) > job->scratch_floats) {
        return BAD_SCRATCH;
    }
    return check_pieces(job, c);
}

static int check_table(const Job *job, const Command *c, int mode) {
    const Operand *o = job->operand + c->operand;
    if (!job->tokens || c->operands != 1 || c->width < 1 || c->depth < 1 || c->packed < 0 || c->packed > c->depth - c->width) return BAD_COMMAND;
    if (c->first < 0 || c->first >= job->buffers || job->buffer[c->first].kind != FIXED || (c->start & ~INT64_C(1))) return BAD_COMMAND;
    if (c->depth > job->buffer[c->first].floats / job->vocabulary) return BAD_TOKEN;
    if (!place_fits(job, o, c->width, mode)) return BAD_OPERAND;
    return job->buffer[o->buffer].kind == FIXED ? BAD_OPERAND : OK;
}

static int check_tokens(const Job *job) {
    if (job->vocabulary < 1) return BAD_TOKEN;
    for (int64_t i = 0; i < job->steps * job->rows; i++)
        if (job->tokens[i] < 0 || job->tokens[i] >= job->vocabulary) return BAD_TOKEN;
    return OK;
}

/* Once the tables themselves are known to be there: every command of every phase, every carried value, the active rows. */
static int check_contents(const Job *job) {
    for (int64_t i = 0; i < job->buffers; i++)
        if (!buffer_fits(job, job->buffer + i)) return BAD_BUFFER;
    for (int phase = 0; phase < PHASES; phase++) {
        const int once = phase == PROLOGUE || phase == EPILOGUE;
        const int mode = once ? ONCE : job->together && phase != LOOP ? TOGETHER : IN_TIME;
        for (int64_t i = job->phase[phase]; i < job->phase[phase + 1]; i++) {
            const Command *c = job->command + i;
            if (c->operand < 0 || c->operands < 0 || c->operands > job->operands || c->operand > job->operands - c->operands) return BAD_COMMAND;
            if (c->kind < POINTWISE || c->kind > SCATTER || (once && c->kind > OUTER)) return BAD_COMMAND;
            const int gradient = c->kind == OUTER || c->kind == SCATTER;
            if (!once && gradient != (phase == GRADIENTS)) return BAD_COMMAND;
            if (phase == LOOP && job->blocked && c->kind != POINTWISE) return BAD_COMMAND;
            int code = c->kind == POINTWISE ? check_pointwise(job, c, mode) : c->kind >= GATHER ? check_table(job, c, mode) : check_matrix(job, c, mode);
            if (code != OK) return code;
        }
    }
    for (int64_t i = 0; i < job->carried; i++) {
        const Carried *c = job->carry + i;
        if (c->state < 0 || c->state >= job->operands || c->initial < 0 || c->initial >= job->operands) return BAD_CARRIED;
        const Operand *state = job->operand + c->state, *initial = job->operand + c->initial;
        if (state->buffer < 0 || state->buffer >= job->buffers || initial->buffer < 0 || initial->buffer >= job->buffers) return BAD_CARRIED;
        const Buffer *from = job->buffer + initial->buffer, *to = job->buffer + state->buffer;
        if (to->kind == FIXED || state->column != 0 || !place_fits(job, state, to->row_stride, IN_TIME)) return BAD_CARRIED;
        if (from->kind != STEP || initial->column != 0 || initial->shift != 0 || from->row_stride != to->row_stride) return BAD_CARRIED;
    }
    if (job->tokens && check_tokens(job) != OK) return BAD_TOKEN;
    if (job->active) {
        if (job->together) return BAD_ACTIVE;
        for (int64_t t = 0, above = job->rows; t < job->steps; above = job->active[t++])
            if (job->active[t] < 1 || job->active[t] > above) return BAD_ACTIVE;
    }
    return OK;
}

static int check(const Job *job) {
    const int64_t limit = INT64_C(1) << 31;
    if (job->format != FORMAT) return BAD_FORMAT;
    if ((job->bf16 & ~INT64_C(1)) || job->steps < 1 || job->rows < 1 || job->chunk < 1 || job->steps > limit || job->rows > limit || job->chunk > limit) return BAD_SIZE;
    const int64_t counts[] = {job->buffers, job->operands, job->instructions, job->commands, job->pieces, job->carried};
    for (int i = 0; i < 6; i++)
        if (counts[i] < 0 || counts[i] > limit) return BAD_SIZE;
    if (job->registers < 0 || job->registers > MAX_REGISTERS || job->register_floats < BLOCK || job->register_floats > limit) return BAD_SCRATCH;
    if (job->scratch_floats < job->registers * job->register_floats || job->packed_floats < 0) return BAD_SCRATCH;
    if (job->threads < 1 || job->threads > MAX_THREADS || job->sums_floats < 0) return BAD_SCRATCH;
    if (!job->scratch || (!job->packed && job->packed_floats)) return BAD_SCRATCH;
    for (int i = 0; i < PHASES; i++)
        if (job->phase[i] < 0 || job->phase[i] > job->phase[i + 1] || job->phase[i + 1] > job->commands) return BAD_COMMAND;
    return check_contents(job);
}

/* -- addresses ---------------------------------------------------------------------------------------------------------------- */

typedef struct {
    const Job *job;
    int64_t first, steps; /* the chunk */
    const Member *me;     /* whose share is run */
    Range rows;           /* of sequences */
    int adding;           /* 1: add up what sums of blocks were written down, and nothing else */
} Chunk;

static float *address(const Chunk *chunk, const Operand *o, int64_t t) {
    const Buffer *b = chunk->job->buffer + o->buffer;
    int64_t slot = 0;
    if (b->kind == TIME) slot = t + o->shift;
    else if (b->kind == CHUNK) slot = t + o->shift - chunk->first;
    else if (b->kind == RING) slot = (t + o->shift) % b->slots;
    return b->base + slot * b->step_stride + o->column;
}

/* -- commands ----------------------------------------------------------------------------------------------------------------- */

/* The instructions of a block of rows, sums going to places of their own. */
static void run_block(const Job *job, const Command *c, Rows *now, int64_t rows, float *sums) {
    for (int64_t i = 0; i < c->count; i++) {
        const Instruction *in = job->instruction + c->first + i;
        if (!is_sum(in)) {
            run_instruction(in, now, rows, c->width);
            continue;
        }
        const Rows target = now[in->d];
        memset(sums, 0, c->width * sizeof(float));
        now[in->d].at = sums;
        run_instruction(in, now, rows, c->width);
        now[in->d] = target;
        sums += c->width;
    }
}

/* Add the sums of a block to where they belong; of each place a share is the same part every time. */
static void add_block(const Chunk *chunk, const Command *c, const float *sums) {
    const Job *job = chunk->job;
    for (int64_t i = 0; i < c->count; i++) {
        const Instruction *in = job->instruction + c->first + i;
        if (!is_sum(in)) continue;
        const Operand *o = job->operand + c->operand + in->d;
        const Buffer *b = job->buffer + o->buffer;
        const Range mine = share(b->floats, LANES, chunk->me);
        const int64_t from = mine.from > o->column ? mine.from - o->column : 0, to = smaller(mine.to - o->column, c->width);
        float *target = b->base + o->column;
        for (int64_t j = from; j < to; j++) target[j] += sums[j];
        sums += c->width;
    }
}

/* Rows [from, to) of step t; ``to`` may exceed the rows of a step when a chunk is treated as one block of rows. */
static void run_pointwise(const Chunk *chunk, const Command *c, int64_t t, int64_t from, int64_t to) {
    const Job *job = chunk->job;
    Rows at[MAX_OPERANDS], now[MAX_OPERANDS];
    const int64_t height = block_rows(c);
    /* Of the sums of the block that begins with a row: the first. */
    const int64_t apart = c->depth * c->width;
    float *sums = 0;
    if (c->depth && chunk->me->sums) {
        const int64_t rows = smaller(job->chunk, job->steps) * job->rows;
        sums = chunk->me->sums + c->packed * rows + ((t - chunk->first) * job->rows + from) * apart;
    }
    if (chunk->adding) {
        for (int64_t row = from; row < to; row += height, sums += height * apart) add_block(chunk, c, sums);
        return;
    }
    for (int64_t i = 0; i < c->operands; i++) {
        const Operand *o = job->operand + c->operand + i;
        if (o->buffer < 0) {
            at[i] = (Rows){chunk->me->scratch + (-1 - o->buffer) * job->register_floats, c->width};
        } else {
            int64_t stride = job->buffer[o->buffer].row_stride;
            at[i] = (Rows){address(chunk, o, t) + from * stride, stride};
        }
        now[i] = at[i];
    }
    for (int64_t row = from; row < to; row += height) {
        int64_t rows = smaller(height, to - row);
        if (sums) {
            run_block(job, c, now, rows, sums);
            sums += height * apart;
        } else {
            for (int64_t i = 0; i < c->count; i++) run_instruction(job->instruction + c->first + i, now, rows, c->width);
        }
        for (int64_t i = 0; i < c->operands; i++)
            if (job->operand[c->operand + i].buffer >= 0) now[i].at += rows * now[i].stride;
    }
}

/* Rows [from, to) of step t; ``columns``: of the result, whole panels of it. */
static void run_product(const Chunk *chunk, const Command *c, int64_t t, int64_t from, int64_t to, Range columns, int direct) {
    const Job *job = chunk->job;
    const Operand *o = job->operand + c->operand;
    const int64_t lead = job->buffer[o[0].buffer].row_stride, stride = job->buffer[o[1].buffer].row_stride, rows = to - from;
    const float *A = address(chunk, o, t) + from * lead, *bias = c->start == START_BIAS ? address(chunk, o + 2, t) : 0;
    float *C = address(chunk, o + 1, t) + from * stride;
    if (!direct && job->bf16) {
        product_bf16(rows, columns.to - columns.from, c->depth, A, lead, job->packed + c->packed + cells_before(columns.from, c->depth), C + columns.from,
                     stride, (int)c->start, bias ? bias + columns.from : 0, c->width * c->depth > NEAR_FLOATS, (int)(t & 1), chunk->me->scratch);
        return;
    }
    if (!direct) {
        product(rows, columns.to - columns.from, c->depth, A, lead, job->packed + c->packed + columns.from * c->depth, C + columns.from, stride,
                (int)c->start, bias ? bias + columns.from : 0, c->width * c->depth > NEAR_FLOATS);
        return;
    }
    for (int64_t i = 0; i < rows && c->start != START_RESULT; i++) {
        if (bias) memcpy(C + i * stride, bias, c->width * sizeof(float));
        else memset(C + i * stride, 0, c->width * sizeof(float));
    }
    for (int64_t i = 0; i < c->count; i++) {
        const Piece *p = job->piece + c->first + i;
        const float *W = job->buffer[p->buffer].base + p->offset;
        if (job->bf16) direct_bf16(rows, p, A, lead, W, C, stride, chunk->me->scratch);
        else if (p->transposed) product_direct(rows, p->columns, p->rows, A + p->row, lead, W, p->rows, C + p->column, stride);
        else
            for (int64_t r = 0; r < rows; r++)
                for (int64_t k = 0; k < p->rows; k++)
                    for (int64_t n = 0; n < p->columns; n++) C[r * stride + p->column + n] += A[r * lead + p->row + k] * W[k * p->columns + n];
    }
}

/* A share of the panels; of rounded weights all. */
static void pack_product(const Job *job, const Command *c, const Member *me) {
    const Range mine = share(c->width, PANEL, me);
    float *packed = job->packed + c->packed;
    if (job->bf16) {
        cells_of_edge(c->width, c->depth, packed);
        for (const Piece *p = job->piece + c->first; p < job->piece + c->first + c->count; p++)
            cells_of_piece(job->buffer[p->buffer].base + p->offset, p, c->depth, packed);
        return;
    }
    if (mine.to == c->width) pack_edge(c->depth, c->width, packed);
    for (int64_t i = 0; i < c->count; i++) {
        const Piece *p = job->piece + c->first + i;
        const int64_t from = mine.from > p->column ? mine.from - p->column : 0, to = smaller(mine.to - p->column, p->columns);
        const int64_t lead = p->transposed ? p->rows : p->columns;
        const float *W = job->buffer[p->buffer].base + p->offset + from * (p->transposed ? lead : 1);
        if (from < to) pack_weight(W, lead, (int)p->transposed, p->rows, to - from, p->row, p->column + from, c->depth, packed);
    }
}

/* A block of rows for each weight of a command: a share of the rows of the gradients. */
static void outer_block(const Job *job, const Command *c, const float *left, int64_t lead, int64_t rows, const float *packed, float *area, int first,
                        const Member *me) {
    for (const Piece *p = job->piece + c->first; p < job->piece + c->first + c->count; p++)
        outer_rows(left + p->row, lead, rows, packed, c->depth, job->buffer[p->buffer].base + p->offset,
                   first && p->transposed ? START_ZERO : START_RESULT, area, share(p->rows, 1, me));
}

/* What ``rows`` rows from step t on add; ``first``: nothing was added to the gradients yet. */
static int run_outer(const Chunk *chunk, const Command *c, int64_t t, int64_t rows, int first, Runner *runner) {
    const Job *job = chunk->job;
    const Operand *o = job->operand + c->operand;
    const float *left = address(chunk, o, t), *right = address(chunk, o + 1, t);
    const int64_t lead = job->buffer[o[0].buffer].row_stride, stride = job->buffer[o[1].buffer].row_stride;
    const int64_t behind = OUTER_ROWS * panels(c->depth) * PANEL;
    float *packed = job->scratch; /* one right factor for all */
    Member me;
    for (int64_t row = 0; row < rows; row += OUTER_ROWS, first = 0) {
        int64_t count = smaller(OUTER_ROWS, rows - row);
        if (job->bf16) {
            EACH_SHARE(runner, &me) {
                const Range mine = share(c->depth, PANEL, &me);
                if (mine.from < mine.to)
                    cells_of_panels(right + row * stride + mine.from, stride, count, mine.to - mine.from, packed + cells_before(mine.from, count));
            }
            EACH_SHARE(runner, &me) outer_bf16(c, job->piece + c->first, job->buffer, left + row * lead, lead, count, packed, &me, first);
            continue;
        }
        EACH_SHARE(runner, &me) pack_right(right + row * stride, stride, c->depth, count, packed, share(c->depth, PANEL, &me));
        EACH_SHARE(runner, &me) outer_block(job, c, left + row * lead, lead, count, packed, me.scratch + behind, first, &me);
    }
    return first;
}

/* Rows of a table, chosen by the tokens of a step; and back: rows are added to those of the table, in the order of the positions. */
static void run_table(const Chunk *chunk, const Command *c, int64_t t, int64_t from, int64_t to) {
    const Job *job = chunk->job;
    const Operand *o = job->operand + c->operand;
    const int64_t stride = job->buffer[o->buffer].row_stride, *token = job->tokens + t * job->rows;
    const Range mine = share(c->width, LANES, chunk->me); /* a token stands in rows of several members */
    float *place = address(chunk, o, t) + from * stride, *table = job->buffer[c->first].base + c->packed;
    for (int64_t r = from; r < to; r++, place += stride) {
        float *entry = table + token[r] * c->depth;
        if (c->kind == GATHER && c->start == START_ZERO) memcpy(place, entry, c->width * sizeof(float));
        else if (c->kind == GATHER)
            for (int64_t j = 0; j < c->width; j++) place[j] += entry[j];
        else
            for (int64_t j = mine.from; j < mine.to; j++) entry[j] += chunk->job->bf16 ? round_bf16(place[j]) : place[j];
    }
}

/* -- the run ------------------------------------------------------------------------------------------------------------------ */

/* Commands of one row, by one thread. */
static void run_once(const Job *job, int phase, Runner *runner) {
    Member me;
    EACH_SHARE(runner, &me) {
        Team team = {.job = job, .members = 1};
        Runner alone = {.team = &team};
        const Member whole = member_of(&team, 0);
        const Chunk chunk = {job, 0, 1, &whole, {0, 1}, 0};
        for (int64_t i = job->phase[phase]; i < job->phase[phase + 1] && me.number == 0; i++) {
            const Command *c = job->command + i;
            if (c->kind == POINTWISE) run_pointwise(&chunk, c, 0, 0, 1);
            else if (c->kind == PRODUCT) run_product(&chunk, c, 0, 0, 1, (Range){0, c->width}, 1);
            else run_outer(&chunk, c, 0, 1, 1, &alone);
        }
    }
}

static void run_command(const Chunk *chunk, int64_t number, int64_t t, int64_t from, int64_t to) {
    const Command *c = chunk->job->command + number;
    if (from >= to || (chunk->adding && (c->kind != POINTWISE || !c->depth))) return;
    if (c->kind == POINTWISE) run_pointwise(chunk, c, t, from, to);
    else if (c->kind == GATHER) run_table(chunk, c, t, from, to);
    else run_product(chunk, c, t, from, to, (Range){0, c->width}, (int)chunk->job->direct);
}

static void run_commands(const Chunk *chunk, int phase, int64_t t, int64_t from, int64_t to) {
    for (int64_t i = chunk->job->phase[phase]; i < chunk->job->phase[phase + 1]; i++) run_command(chunk, i, t, from, to);
}

/* A chunk of steps as a share of it sees it. */
static Chunk with_share(const Chunk *whole, const Member *me, Range rows) {
    Chunk chunk = *whole;
    chunk.me = me;
    chunk.rows = rows;
    return chunk;
}

/* Commands before or after the loop: the chunk as one block of rows where possible, else step by step. */
static void run_outside(const Chunk *chunk, int phase) {
    const Job *job = chunk->job;
    if (job->together) run_commands(chunk, phase, chunk->first, 0, chunk->steps * job->rows);
    else
        for (int64_t t = chunk->first; t < chunk->first + chunk->steps; t++)
            run_commands(chunk, phase, t, chunk->rows.from, smaller(chunk->rows.to, active_rows(job, t)));
}

/* Rows that become active at step t (in the direction of the run) get the initial carried values. */
static void begin_rows(const Chunk *chunk, int64_t t) {
    const Job *job = chunk->job;
    int64_t last = job->backwards ? job->steps - 1 : 0;
    int64_t from = t == last ? 0 : job->backwards ? active_rows(job, t + 1) : job->rows;
    int64_t to = active_rows(job, t);
    if (t == last && !job->backwards) to = job->rows;
    if (from < chunk->rows.from) from = chunk->rows.from;
    to = smaller(to, chunk->rows.to);
    for (int64_t i = 0; i < job->carried && from < to && !chunk->adding; i++) {
        const Operand *state = job->operand + job->carry[i].state, *initial = job->operand + job->carry[i].initial;
        int64_t stride = job->buffer[state->buffer].row_stride;
        memcpy(address(chunk, state, t) + from * stride, address(chunk, initial, 0) + from * stride, (to - from) * stride * sizeof(float));
    }
}

static int64_t step_of(const Chunk *chunk, int64_t k) { return chunk->job->backwards ? chunk->first + chunk->steps - 1 - k : chunk->first + k; }

/* No product in the loop: a block of rows runs through all steps of the chunk, so its carried values stay in the cache. */
static void run_blocked_loop(const Chunk *chunk) {
    const Job *job = chunk->job;
    for (int64_t k = 0; k < chunk->steps; k++) begin_rows(chunk, step_of(chunk, k));
    int64_t height = job->rows;
    for (int64_t i = job->phase[LOOP]; i < job->phase[LOOP + 1]; i++) height = smaller(height, block_rows(job->command + i));
    for (int64_t row = chunk->rows.from; row < chunk->rows.to; row += height)
        for (int64_t k = 0; k < chunk->steps; k++) {
            const int64_t t = step_of(chunk, k);
            run_commands(chunk, LOOP, t, row, smaller(smaller(row + height, chunk->rows.to), active_rows(job, t)));
        }
}

/* A ring of carried values must not be filled ahead of time, so blocks need rows that all begin together. */
static int in_blocks(const Job *job) { return job->blocked && !job->active; }

/* The rows of a share through all steps. */
static void run_loop(const Chunk *chunk) {
    const Job *job = chunk->job;
    if (in_blocks(job)) {
        run_blocked_loop(chunk);
        return;
    }
    for (int64_t k = 0; k < chunk->steps; k++) {
        const int64_t t = step_of(chunk, k);
        begin_rows(chunk, t);
        run_commands(chunk, LOOP, t, chunk->rows.from, smaller(chunk->rows.to, active_rows(job, t)));
    }
}

/* The sequences of a share of a chunk, cut where the sums of phases allow it that go step by step. */
static Range rows_of(const Chunk *chunk, const Member *me) {
    const Job *job = chunk->job;
    if (me->members == 1) return (Range){0, job->rows};
    int64_t step = cut(job, LOOP, in_blocks(job));
    if (!job->together) step = common_multiple(common_multiple(step, cut(job, BEFORE, 0)), cut(job, AFTER, 0));
    return job->active ? share_active(job, chunk->first, chunk->steps, step, me) : share(job->rows, step, me);
}

/* Weights that fill the second-level cache: better each thread has some columns of them, and all rows. */
static int in_columns(const Job *job, const Command *c) { return c->kind == PRODUCT && c->width * c->depth > FAR_FLOATS && !job->direct; }

static int has_columns(const Job *job) {
    int found = 0;
    for (int64_t i = job->phase[LOOP]; i < job->phase[LOOP + 1]; i++) found |= in_columns(job, job->command + i);
    return found;
}

/* A loop with such products: in each step a round for each of them, and for what lies between them. */
static void run_wide_loop(const Chunk *whole, Runner *runner) {
    const Job *job = whole->job;
    Member me;
    for (int64_t k = 0; k < whole->steps; k++) {
        const int64_t t = step_of(whole, k), rows = active_rows(job, t), end = job->phase[LOOP + 1];
        for (int64_t i = job->phase[LOOP], next = i; i < end; i = next + 1) {
            for (next = i; next < end && !in_columns(job, job->command + next);) next++;
            if (next > i || i == job->phase[LOOP]) EACH_SHARE(runner, &me) {
                    const Chunk chunk = with_share(whole, &me, rows_of(whole, &me));
                    if (i == job->phase[LOOP]) begin_rows(&chunk, t);
                    for (int64_t n = i; n < next; n++) run_command(&chunk, n, t, chunk.rows.from, smaller(chunk.rows.to, rows));
                }
            if (next < end) EACH_SHARE(runner, &me) {
                    const Range columns = share(job->command[next].width, PANEL, &me);
                    const Chunk chunk = with_share(whole, &me, whole->rows);
                    if (columns.from < columns.to) run_product(&chunk, job->command + next, t, 0, rows, columns, 0);
                }
        }
    }
}

/* A phase of a chunk in rounds. */
static void run_phase(const Chunk *whole, int phase, Runner *runner) {
    const Job *job = whole->job;
    const int64_t first = job->phase[phase], end = job->phase[phase + 1], rows = whole->steps * job->rows;
    Member me;
    if (first == end) return;
    if (phase == LOOP && runner->team->members > 1 && has_columns(job)) {
        run_wide_loop(whole, runner);
    } else if (phase != LOOP && job->together) {
        for (int64_t i = first; i < end; i++) /* a command may read other positions of what the one before wrote */
            EACH_SHARE(runner, &me) {
                const Chunk chunk = with_share(whole, &me, whole->rows);
                const Range mine = share(rows, cut(job, phase, 0), &me);
                run_command(&chunk, i, whole->first, mine.from, mine.to);
            }
    } else {
        EACH_SHARE(runner, &me) {
            const Chunk chunk = with_share(whole, &me, rows_of(whole, &me));
            if (phase == LOOP) run_loop(&chunk);
            else run_outside(&chunk, phase);
        }
    }
}

/* Add what sums of blocks of rows the phases have left, in the order in which one thread adds them. */
static void add_sums(const Chunk *whole, Runner *runner) {
    Member me;
    if (runner->team->members == 1 || !whole->job->sums_floats) return;
    EACH_SHARE(runner, &me) {
        Chunk chunk = with_share(whole, &me, whole->rows);
        chunk.adding = 1;
        run_outside(&chunk, BEFORE);
        run_loop(&chunk);
        run_outside(&chunk, AFTER);
    }
}

static void run_gradients(const Chunk *whole, int first, Runner *runner) {
    const Job *job = whole->job;
    const int64_t begin = whole->first, end = begin + whole->steps;
    Member me;
    for (int64_t i = job->phase[GRADIENTS]; i < job->phase[GRADIENTS + 1]; i++) {
        const Command *c = job->command + i;
        if (c->kind == SCATTER) {
            EACH_SHARE(runner, &me) {
                const Chunk chunk = with_share(whole, &me, whole->rows);
                for (int64_t t = begin; t < end; t++) run_table(&chunk, c, t, 0, active_rows(job, t));
            }
        } else if (job->together) {
            run_outer(whole, c, begin, whole->steps * job->rows, first, runner);
        } else {
            int fresh = first;
            for (int64_t t = begin; t < end; t++) fresh = run_outer(whole, c, t, active_rows(job, t), fresh, runner);
        }
    }
}

static void run_chunks(const Job *job, Runner *runner) {
    const int64_t count = (job->steps + job->chunk - 1) / job->chunk;
    for (int64_t n = 0; n < count; n++) {
        const int64_t first = (job->backwards ? count - 1 - n : n) * job->chunk;
        const Chunk chunk = {job, first, smaller(job->chunk, job->steps - first), 0, {0, job->rows}, 0};
        for (int phase = BEFORE; phase <= AFTER; phase++) run_phase(&chunk, phase, runner);
        add_sums(&chunk, runner);
        run_gradients(&chunk, n == 0, runner);
    }
}

/* Numbers too small for a normalised float are treated as 0 during the run: they change no result visibly and are slow. */
static unsigned flush_subnormals(void) {
#if defined(__x86_64__)
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
#else
    return 0;
#endif
}

static void restore_subnormals(unsigned before) {
#if defined(__x86_64__)
    _mm_setcsr(before);
#else
    (void)before;
#endif
}

/* -- what Python calls -------------------------------------------------------------------------------------------------------- */

#define EXPORT __attribute__((visibility("default")))

/* What each thread of a team does. */
static void run_rounds(Team *team, int number) {
    const Job *job = team->job;
    const unsigned before = flush_subnormals(); /* each thread has a mode of its own */
    Runner runner = {.team = team, .number = number};
    Member me;
    run_once(job, PROLOGUE, &runner);
    EACH_SHARE(&runner, &me)
        for (int64_t i = job->phase[BEFORE], n = 0; i < job->phase[GRADIENTS] && !job->direct; i++) {
            const Command *c = job->command + i;
            if (c->kind == PRODUCT && (!job->bf16 || n++ % me.members == me.number)) pack_product(job, c, &me);
        }
    run_chunks(job, &runner);
    run_once(job, EPILOGUE, &runner);
    if (job->bf16) bf16_release();
    restore_subnormals(before);
}

/* Run a job; 0, or the number of what is wrong with it (then nothing was done). */
EXPORT int cellsearch_run(const Job *job) {
    int code = check(job);
    if (code == OK) run_team(job, run_rounds);
    return code;
}

/* Fill in the addresses of a job, run it, and copy what leaves it. */
EXPORT int cellsearch_call(const Call *call) {
    Job *job = call->job;
    Buffer *buffer = (Buffer *)job->buffer;
    for (int64_t k = 0; k < job->buffers; k++) buffer[k].base = (float *)(call->address[call->area[k]] + call->place[k]);
    job->scratch = (float *)call->address[0];
    job->packed = (float *)(call->address[0] + call->packed);
    const int code = cellsearch_run(job);
    if (code != OK) return code;
    for (const Copy *copy = call->copy; copy < call->copy + call->copies; copy++)
        if (call->address[copy->to]) memcpy(call->address[copy->to], call->address[copy->area] + copy->place, (size_t)copy->bytes);
    return OK;
}

/* A readout with its loss; 0, or the number of what is wrong with it (then nothing was done). */
EXPORT int cellsearch_loss(const Loss *loss) {
    const int code = check_loss(loss);
    if (code != OK) return code;
    const unsigned before = flush_subnormals();
    run_loss(loss);
    restore_subnormals(before);
    return OK;
}

/* The scratch memory that such a job needs, in floats. */
EXPORT int64_t cellsearch_loss_floats(int64_t depth, int64_t classes) { return plan_loss(depth, classes).floats; }

/* The names of the instructions in their numbering; NULL beyond the last. */
EXPORT const char *cellsearch_opcode(int number) { return number >= 0 && number < OPCODE_COUNT ? OPCODE_NAMES[number] : 0; }

/* Sizes that the caller must agree with: 0 format, 1 bytes of a job, 2 panel, 3 floats of a block, 4 rows of a gradient, 5 columns,
 * 6 how many instructions, 7 cells of a depth of 32 (bf16.h). */
EXPORT int64_t cellsearch_size(int what) {
    const int64_t sizes[] = {FORMAT, (int64_t)sizeof(Job), PANEL, BLOCK, OUTER_ROWS, OUTER_COLUMNS, OPCODE_COUNT, CELLS_OF_32};
    return what >= 0 && what < 8 ? sizes[what] : -1;
}

/* Which instructions of the processor the library was built for. */
EXPORT const char *cellsearch_path(void) { return PATH; }

/* How products of bfloat16 are computed here: "amx", "avx512_bf16", or the path above, which rounds by integers and multiplies float32. */
EXPORT const char *cellsearch_bf16_path(void) { return bf16_path(); }
