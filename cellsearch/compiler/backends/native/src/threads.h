/* Several threads run one job, each a share of its rows, with the same bits for any number of them.
 *
 * What happens to a row does not depend on other rows, so rows are cut anywhere. A sum over rows has one order: the sums of blocks
 * of rows are written down side by side, by whoever has the block, and then added in the order that one thread has, each share being
 * some of the columns. Weight gradients and token tables are cut by the rows and columns of the result.
 *
 * A run goes in rounds. Each has as many shares as there are threads in the team, and a thread goes on when all are finished. It
 * takes its own share first and then those that nobody has begun, so one that wakes late, or has no processor, keeps nobody waiting:
 * it finds the rounds before finished.
 *
 * Threads are made when they are first asked for, and wait for the next job: at first awake, then asleep. Each run takes those that
 * are idle and makes what is missing; where the system gives no more, it goes on with fewer. They block all signals, so the thread
 * that Python waits in gets them. After a fork the child has none of them, and begins with an empty pool. */
#ifndef CELLSEARCH_THREADS_H
#define CELLSEARCH_THREADS_H

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "format.h"

/* The versions of before threads moved into the C library itself (glibc 2.34), which has both: the built library of a wheel runs on
 * older systems too. */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__SANITIZE_THREAD__)
__asm__(".symver pthread_create, pthread_create@GLIBC_2.2.5");
__asm__(".symver pthread_sigmask, pthread_sigmask@GLIBC_2.2.5");
#endif

#define MAX_THREADS 64
#define SPINS 1000 /* looks at a flag before a thread goes to sleep, tens of microseconds in all: longer than others differ */

#if defined(__x86_64__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("yield")
#else
#define PAUSE() ((void)0)
#endif

/* -- waiting ------------------------------------------------------------------------------------------------------------------ */

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int sleeping;
} Bed;

#define BED {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0}

/* A place that one thread writes and others wait for. All reads and writes have one order among themselves, so either the sleeper
 * sees the new value, or the writer sees the sleeper. */
static uintptr_t look(uintptr_t *flag) { return __atomic_load_n(flag, __ATOMIC_SEQ_CST); }

static void announce(uintptr_t *flag, uintptr_t value, Bed *bed) {
    __atomic_store_n(flag, value, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&bed->sleeping, __ATOMIC_SEQ_CST)) return;
    pthread_mutex_lock(&bed->lock);
    pthread_cond_broadcast(&bed->wake);
    pthread_mutex_unlock(&bed->lock);
}

typedef int condition(uintptr_t now, uintptr_t than);

static int is_idle(uintptr_t now, uintptr_t than) { return now == than; }
static int is_called(uintptr_t now, uintptr_t than) { return now > than; }
static int is_reached(uintptr_t now, uintptr_t than) { return now >= than; }

static void wait_until(uintptr_t *flag, condition *met, uintptr_t than, Bed *bed, int spins) {
    for (int i = 0; i < spins; i++) {
        if (met(look(flag), than)) return;
        PAUSE();
    }
    pthread_mutex_lock(&bed->lock);
    __atomic_add_fetch(&bed->sleeping, 1, __ATOMIC_SEQ_CST);
    while (!met(look(flag), than)) pthread_cond_wait(&bed->wake, &bed->lock);
    __atomic_sub_fetch(&bed->sleeping, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&bed->lock);
}

/* -- a team and its rounds ---------------------------------------------------------------------------------------------------- */

typedef struct Team {
    void (*run)(struct Team *team, int number);
    const Job *job;
    int members, spins;
    int done;                     /* shares of the round that are finished */
    uintptr_t finished;           /* rounds that are finished */
    uintptr_t taken[MAX_THREADS]; /* of each share, the last round in which somebody began it */
    Bed bed;
} Team;

/* A share of a round. */
typedef struct {
    int number, members;
    float *scratch; /* its own, as much as a job says that it needs */
    float *sums;    /* of blocks of rows; 0 where there is one share, which adds them itself */
} Member;

/* A thread in its rounds. */
typedef struct {
    Team *team;
    uintptr_t round;
    int number, tried, busy;
} Runner;

static void begin_round(Runner *runner) {
    runner->round++;
    runner->tried = runner->busy = 0;
}

static Member member_of(const Team *team, int number) {
    const Job *job = team->job;
    float *sums = team->members > 1 && job->sums_floats ? job->scratch + job->threads * job->scratch_floats : 0;
    return (Member){number, team->members, job->scratch + number * job->scratch_floats, sums};
}

/* The next share of the round that nobody has begun; 0 when there is none, and all are finished. */
static int take_share(Runner *runner, Member *share) {
    Team *team = runner->team;
    if (team->members == 1) {
        *share = member_of(team, 0);
        return !runner->tried++;
    }
    if (runner->busy && __atomic_add_fetch(&team->done, 1, __ATOMIC_SEQ_CST) == team->members) {
        __atomic_store_n(&team->done, 0, __ATOMIC_SEQ_CST);
        announce(&team->finished, runner->round, &team->bed);
    }
    for (runner->busy = 0; runner->tried < team->members;) {
        const int number = (runner->number + runner->tried++) % team->members;
        uintptr_t before = runner->round - 1;
        runner->busy = __atomic_compare_exchange_n(team->taken + number, &before, runner->round, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
        if (!runner->busy) continue;
        *share = member_of(team, number);
        return 1;
    }
    wait_until(&team->finished, is_reached, runner->round, &team->bed, team->spins);
    return 0;
}

/* A round: what follows is done for each share. It may depend on nothing but the job and what rounds before it did. */
#define EACH_SHARE(runner, share) for (begin_round(runner); take_share(runner, share);)

/* -- the pool ----------------------------------------------------------------------------------------------------------------- */

enum { IDLE, AT_WORK }; /* else: the address of a team that it is called to */

typedef struct Worker {
    uintptr_t called;
    int number;
    Bed bed;
    struct Worker *next; /* idle ones */
} Worker;

static struct {
    pthread_mutex_t lock;
    Worker *idle;
    int watched;    /* whether forks are known to it */
    int processors; /* asking for them takes long */
} pool = {PTHREAD_MUTEX_INITIALIZER, 0, 0, 0};

static void *live(void *given) {
    Worker *me = given;
    for (;;) {
        wait_until(&me->called, is_called, AT_WORK, &me->bed, SPINS);
        uintptr_t team = look(&me->called);
        if (team <= AT_WORK || !__atomic_compare_exchange_n(&me->called, &team, AT_WORK, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) continue;
        ((Team *)team)->run((Team *)team, me->number);
        announce(&me->called, IDLE, &me->bed); /* the team is gone from here on */
    }
    return 0;
}

/* A new idle worker, or 0 where the system gives none. */
static Worker *hire(void) {
    Worker *worker = malloc(sizeof *worker);
    if (!worker) return 0;
    *worker = (Worker){.bed = BED};
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    int failed = pthread_attr_init(&attributes);
    if (!failed) {
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        failed = pthread_create(&thread, &attributes, live, worker);
        pthread_sigmask(SIG_SETMASK, &before, 0);
        pthread_attr_destroy(&attributes);
    }
    if (failed) free(worker);
    return failed ? 0 : worker;
}

static void before_fork(void) { pthread_mutex_lock(&pool.lock); }

static void after_fork(void) { pthread_mutex_unlock(&pool.lock); }

/* What idle workers had is lost with them: some bytes each. */
static void in_child(void) {
    pool.idle = 0;
    pthread_mutex_unlock(&pool.lock);
}

static int gather(Worker **workers, int wanted, int *processors) {
    int found = 0;
    pthread_mutex_lock(&pool.lock);
    if (!pool.watched) {
        pool.watched = !pthread_atfork(before_fork, after_fork, in_child);
        pool.processors = (int)sysconf(_SC_NPROCESSORS_ONLN);
    }
    *processors = pool.processors;
    for (; pool.watched && found < wanted && pool.idle; pool.idle = pool.idle->next) workers[found++] = pool.idle;
    const int watched = pool.watched;
    pthread_mutex_unlock(&pool.lock);
    while (watched && found < wanted && (workers[found] = hire())) found++;
    return found;
}

/* Run a job with as many threads as it asks for, or as there are; this one is the first. Workers that have not come until the end
 * are called off. */
static void run_team(const Job *job, void (*run)(Team *team, int number)) {
    Worker *workers[MAX_THREADS];
    int processors = 0;
    const int found = job->threads == 1 ? 0 : gather(workers, (int)job->threads - 1, &processors);
    const int spins = found < processors ? SPINS : 0; /* else one of them may be waiting for this processor */
    Team team = {.run = run, .job = job, .members = found + 1, .spins = spins, .bed = BED};
    for (int i = 0; i < found; i++) {
        workers[i]->number = i + 1;
        announce(&workers[i]->called, (uintptr_t)&team, &workers[i]->bed);
    }
    run(&team, 0);
    if (!found) return;
    for (int i = 0; i < found; i++) {
        uintptr_t expected = (uintptr_t)&team;
        if (!__atomic_compare_exchange_n(&workers[i]->called, &expected, IDLE, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            wait_until(&workers[i]->called, is_idle, IDLE, &workers[i]->bed, spins);
    }
    pthread_mutex_lock(&pool.lock);
    for (int i = found; i-- > 0; pool.idle = workers[i]) workers[i]->next = pool.idle;
    pthread_mutex_unlock(&pool.lock);
}

/* -- shares ------------------------------------------------------------------------------------------------------------------- */

typedef struct {
    int64_t from, to;
} Range;

/* A share of ``total`` things that are cut after multiples of ``step`` only. */
static Range share(int64_t total, int64_t step, const Member *me) {
    const int64_t units = (total + step - 1) / step, members = me->members;
    const int64_t from = (units * me->number + members - 1) / members * step, to = (units * (me->number + 1) + members - 1) / members * step;
    return (Range){from < total ? from : total, to < total ? to : total};
}

/* The rows of a block of a pointwise command. */
static int64_t block_rows(const Command *c) { return c->width < BLOCK ? BLOCK / c->width : 1; }

/* The least common multiple; more than there are rows where that is large. */
static int64_t common_multiple(int64_t a, int64_t b) {
    const int64_t limit = INT64_C(1) << 31;
    int64_t x = a, y = b;
    while (y) {
        const int64_t rest = x % y;
        x = y;
        y = rest;
    }
    return a / x * b < limit ? a / x * b : limit;
}

/* Where rows may be cut in a phase: between blocks that are summed. ``blocked``: all commands have the blocks of the widest. */
static int64_t cut(const Job *job, int phase, int blocked) {
    int64_t least = INT64_C(1) << 31, step = 1;
    for (int64_t i = job->phase[phase]; i < job->phase[phase + 1]; i++) {
        const Command *c = job->command + i;
        if (c->kind != POINTWISE) continue;
        if (block_rows(c) < least) least = block_rows(c);
        if (c->depth) step = common_multiple(step, block_rows(c));
    }
    return blocked && step > 1 ? least : step;
}

/* Rows of sequences of various lengths, which are sorted: as many positions for each member as possible. */
static Range share_active(const Job *job, int64_t first, int64_t steps, int64_t step, const Member *me) {
    int64_t all = 0, done = 0, row = 0, at = first + steps;
    Range found = {job->rows, job->rows};
    for (int64_t t = first; t < first + steps; t++) all += job->active[t];
    for (int number = 0; number <= me->number + 1; number++) {
        while (row < job->rows && done * me->members < all * number) {
            const int64_t end = row + step < job->rows ? row + step : job->rows;
            for (; row < end; row++) {
                while (at > first && job->active[at - 1] <= row) at--;
                done += at - first; /* positions that this row has */
            }
        }
        if (number == me->number) found.from = row;
    }
    found.to = me->number + 1 == me->members ? job->rows : row;
    return found;
}

#endif
