/*
 * How a row of the outbox goes from hand to hand: a model for Spin (https://spinroot.com).
 *
 * One accepted row, two relays, two workers, a Redis that may lose everything, a PostgreSQL that may forget what it
 * committed asynchronously, and a client that may cancel. Anybody may be killed between any two steps, as often as it
 * likes. docs/protocol.md tells the same story in prose; README.md says how to run this and what it leaves out.
 *
 * Each atomic step is one SQL statement or one call to Redis; its comment names the file and the statement. Between two
 * steps of a process it can die, its answer can be lost, and anybody else can come first.
 *
 * A define breaks one rule on purpose, to see what the rule is for:
 *
 *   NO_TOKEN               begin and settle match the id and the state, not the token
 *   COUNTER_TOKEN          the token is a number in the row that goes up by one, not a random value
 *   PUBLISH_BEFORE_COMMIT  the relay pushes the message first, then commits the claim
 *   EFFECTS_APART          a run's effects commit when its script ends, before and without the row's deletion
 *   CANCEL_KEEPS_TOKEN     the record of a cancelled row carries the token that the row had
 */

#define WINDOW         2  /* messages on the list at most: the relay publishes what the workers take soon */
#define MOST_ATTEMPTS  2  /* a row that failed this often is a dead letter */

/* outbox.state; GONE: the row is deleted, its end is in executions. Left out is 3, a message of a queue that nobody
   consumes: it becomes PENDING when somebody does. */
#define PENDING    0
#define PUBLISHED  1
#define RUNNING    2
#define GONE       4

/* Where a worker is with the one row it has in hand. */
#define IDLE        0
#define POPPED      1  /* has a message, has not begun its row */
#define RUNS        2  /* has begun it; the script runs */
#define SUCCEEDED   3  /* the script has ended and is settled as completed, … */
#define FAILED      4  /* … failed, … */
#define HANDS_BACK  5  /* … or it never started: handed_back */

typedef Row {
    byte state;
    byte token;
    byte owner;  /* worker_id: who began it, counted from 1 */
    short attempt
};

Row row;   /* what a statement sees */
Row disk;  /* what a crash of PostgreSQL leaves: the last state whose WAL was flushed */

byte recorded;  /* executions.token: under which token the row ended; 0: the token of nobody's run */

chan redis = [WINDOW] of { byte };  /* the list; a message is the token (there is one row, so the id says nothing) */

byte published[2];  /* relays: the token of the message in hand, not known to be on the list */
byte phase[2];      /* workers */
byte held[2];       /* workers: the token in hand */

/*
 * Finitely many faults. While it is not calm anything may die, stop, lie or lapse, without a bound. Once it is calm
 * nothing does: only then can anybody promise that the row will end. Calm also means that the clocks make sense: nobody
 * is taken for dead who lives, and a publish lease does not end while its message is on its way.
 */
bool calm;

/* What the properties speak of; no process looks at it. */
byte effects;    /* how often the effects of a run were committed */
byte completed;  /* records of each kind */
byte dead;
byte cancelled;
byte failures;   /* scripts that ended badly, counted up to MOST_ATTEMPTS */
byte author;     /* the worker whose run ended the row, counted from 1 */
bool trespass;   /* a run was settled by a worker that the row was not handed to */
bool misled;     /* a worker took its run for the one that counted and was wrong, or the other way round */

/*
 * Tokens ---------------------------------------------------------------------------------------------------------
 *
 * A random token is a value that nobody ever had. All that matters is whether it equals the row's, the one that a crash
 * would bring back, or the recorded one. A token that equals none of them never will: it is called STALE, and its value
 * is used again. So the states are finite although the row may be handed over without end, and the same small number in
 * a trail may be another token each time.
 */
#define STALE   9
#define TOKENS  5

byte draft;  /* PUBLISH_BEFORE_COMMIT: the token in a claim that is not committed; the row is locked meanwhile */
byte value;  /* scratch, 0 between steps */
byte count;

#ifdef COUNTER_TOKEN
#define matters(token_)  true  /* any number may come again */
#else
#define matters(token_)  (token_ == row.token || token_ == disk.token || token_ == recorded || token_ == draft)
#endif

inline new_token(target) {
#ifdef COUNTER_TOKEN
    target = row.token + 1
#else
    value = 1;
    do
    :: matters(value) -> value++
    :: else -> break
    od;
    assert(value <= TOKENS);
    target = value;
    value = 0
#endif
}

inline grow_stale(token_) {
    if
    :: token_ && !matters(token_) -> token_ = STALE
    :: else
    fi
}

/* After every step that changed the row, the disk or the record. */
inline forget_tokens() {
    grow_stale(published[0]);
    grow_stale(published[1]);
    grow_stale(held[0]);
    grow_stale(held[1]);
    count = len(redis);
    do
    :: count > 0 -> redis?value; grow_stale(value); redis!value; count--
    :: else -> break
    od;
    value = 0
}

/* The fence: `where o.id = x.id and o.token = x.token`. */
#if defined(NO_TOKEN)
#define is_ours(token_, state_)  (row.state == state_)
#else
#define is_ours(token_, state_)  (row.state != GONE && row.token == token_)
#endif

/* "did this very token commit already?" */
#if defined(NO_TOKEN)
#define is_recorded(token_)  (completed + dead > 0)
#else
#define is_recorded(token_)  (recorded == token_)
#endif

#ifdef COUNTER_TOKEN
#define MAY_CLAIM  row.token < 5  /* a counter has no end: two rounds are looked at */
#else
#define MAY_CLAIM  true
#endif

/*
 * PostgreSQL -----------------------------------------------------------------------------------------------------
 */

/* A durable commit takes everything before it to the disk, too; so does the WAL writer whenever it likes. */
inline flush_wal() {
    disk.state = row.state;
    disk.token = row.token;
    disk.owner = row.owner;
    disk.attempt = row.attempt;
    forget_tokens()
}

/* Every hand-over: a new state and a new token in the same UPDATE, committed asynchronously. */
inline hand_over(state_, owner_) {
    row.state = state_;
    row.owner = owner_;
    new_token(row.token);
    forget_tokens()
}

/* Every end: the row is deleted and its record is written by one statement, which waits for the disk. */
inline end_row(token_) {
    recorded = token_;
    row.state = GONE;
    row.token = 0;
    row.owner = 0;
    row.attempt = 0;
    flush_wal()
}

/*
 * The relay ------------------------------------------------------------------------------------------------------
 */

#define either(hands, token_)  (hands[0] == token_ || hands[1] == token_)
#define is_on_its_way  (redis??[eval(row.token)] || either(published, row.token) || either(held, row.token))

proctype relay(byte me)
{
    do
#ifndef PUBLISH_BEFORE_COMMIT
    /* relay.sql: claim. */
    :: atomic { row.state == PENDING && !published[me] && MAY_CLAIM ->
        d_step { hand_over(PUBLISHED, 0); published[me] = row.token };
        printf("relay %d claims the row: token %d\n", me, row.token) }
#else
    /* The same in a transaction that stays open over the push; who reads the row meanwhile sees it as it was. */
    :: atomic { row.state == PENDING && !published[me] && !draft ->
        d_step { new_token(draft); published[me] = draft };
        printf("relay %d claims the row, not committed: token %d\n", me, draft) };
        atomic { nfull(redis) -> redis!published[me]; printf("relay %d pushes token %d\n", me, published[me]) };
        atomic {
            if
            :: draft && draft == published[me] ->
                d_step { row.state = PUBLISHED; row.token = draft; draft = 0; forget_tokens() };
                printf("relay %d commits its claim\n", me)
            :: !calm && draft && draft == published[me] ->
                d_step { draft = 0; forget_tokens() };
                printf("relay %d is killed, its claim rolled back\n", me)
            :: else  /* PostgreSQL crashed meanwhile */
            fi;
            published[me] = 0 }
#endif

    /* publish.lua. An answer that is lost leaves the relay not knowing: it may push again, or take the row back. */
    :: atomic { published[me] && nfull(redis) ->
        redis!published[me];
        printf("relay %d pushes token %d\n", me, published[me]);
        if
        :: published[me] = 0
        :: !calm -> printf("its answer is lost\n")
        fi }

    /* relay.sql: unpublish; after a push that failed, seemingly or in truth. */
    :: atomic { !calm && published[me] ->
        if
        :: row.state == PUBLISHED && row.token == published[me] ->
            d_step { hand_over(PENDING, 0) };
            printf("relay %d takes the row back: it could not publish\n", me)
        :: else
        fi;
        published[me] = 0 }

    /* relay.sql: published. A relay that starts publishes again what its predecessor may have. */
    :: atomic { !calm && !published[me] && row.state == PUBLISHED ->
        published[me] = row.token;
        printf("relay %d starts and publishes again: token %d\n", me, row.token) }

    /* relay.sql: lapsed, unpublish, reset_published. In a storm a lease may end, or the epoch be gone, at any time.
       When it is calm that happens only to a row whose message is nowhere. */
    :: atomic { row.state == PUBLISHED && (!calm || !is_on_its_way) ->
        d_step { hand_over(PENDING, 0) };
        printf("relay %d takes the row back: its publish lease has ended\n", me) }

    /* relay.sql: orphaned, overdue; selected and settled as `lost` in one transaction. In a storm also from the living:
       a worker that was stopped for a minute comes back and knows nothing. */
    :: atomic { row.state == RUNNING && (!calm || !either(held, row.token)) ->
        d_step { row.attempt--; hand_over(PENDING, 0); flush_wal() };
        printf("relay %d takes the row back: its worker seems dead\n", me) }

    /* Killed, and started again with empty hands. */
    :: atomic { !calm && published[me] -> published[me] = 0; printf("relay %d is killed\n", me) }
    od
}

/*
 * The worker -----------------------------------------------------------------------------------------------------
 */

/* worker.sql: complete, commit; complete_executions_v1, commit_executions_v1. One transaction, and what the worker is
   told when the COMMIT's answer reaches it. Without that answer it sends the same again, under the same token. */
inline settle() {
    if
    :: is_ours(held[me], RUNNING) ->
        trespass = trespass || row.owner != me + 1;
        if
        :: phase[me] == SUCCEEDED ->
            d_step {
#ifndef EFFECTS_APART
                effects++;
#endif
                completed++; author = me + 1; end_row(held[me]) };
            printf("worker %d completes the row: done\n", me)
        :: phase[me] == FAILED && row.attempt >= MOST_ATTEMPTS ->
            d_step { dead++; author = me + 1; end_row(held[me]) };
            printf("worker %d settles a failure: dead letter\n", me)
        :: phase[me] == FAILED && row.attempt < MOST_ATTEMPTS ->
            d_step { hand_over(PENDING, 0); flush_wal() };
            printf("worker %d settles a failure: retried\n", me)
        :: phase[me] == HANDS_BACK ->
            d_step { row.attempt--; hand_over(PENDING, 0); flush_wal() };
            printf("worker %d hands the row back\n", me)
        fi
    :: !is_ours(held[me], RUNNING) && is_recorded(held[me]) ->
        misled = misled || author != me + 1;
        printf("worker %d settles its run: already\n", me)
    :: !is_ours(held[me], RUNNING) && !is_recorded(held[me]) ->
        misled = misled || author == me + 1;
        printf("worker %d settles its run: lost, discarded\n", me)
    fi
}

proctype worker(byte me)
{
    do
    /* pop.lua, BLPOP. Destructive: nobody else gets this message. */
    :: atomic { phase[me] == IDLE && nempty(redis) ->
        redis?held[me];
        phase[me] = POPPED;
        printf("worker %d pops token %d\n", me, held[me]) }

    /* worker.sql: begin; begin_executions_v1. A stale copy matches nothing and is dropped. */
    :: atomic { phase[me] == POPPED ->
        if
        :: is_ours(held[me], PUBLISHED) ->
            d_step { row.attempt++; hand_over(RUNNING, me + 1) };
            printf("worker %d begins the row: token %d, attempt %d\n", me, row.token, row.attempt);
            if
            :: held[me] = row.token; phase[me] = RUNS
            :: !calm -> printf("its answer is lost\n")  /* sent again: the old token matches nothing now */
            fi
        :: else ->
            held[me] = 0; phase[me] = IDLE;
            printf("worker %d begins nothing\n", me)
        fi }

    :: atomic { phase[me] == RUNS ->
        if
        :: phase[me] = SUCCEEDED;
            printf("worker %d: the script succeeds\n", me);
#ifdef EFFECTS_APART
            if
            :: is_ours(held[me], RUNNING) && effects < 2 -> d_step { effects++; flush_wal() }
            :: else
            fi
#endif
        :: phase[me] = FAILED;
            printf("worker %d: the script fails\n", me);
            if
            :: failures < MOST_ATTEMPTS -> failures++
            :: else
            fi
        :: !calm -> phase[me] = HANDS_BACK  /* it drains, or the row has waited too long behind another script */
        fi }

    :: atomic { phase[me] >= SUCCEEDED ->
        settle();
        if
        :: held[me] = 0; phase[me] = IDLE
        :: !calm -> printf("its answer is lost\n")
        fi }

#ifndef EFFECTS_APART
    /* The verdict `conflict`: somebody else changed a key that it read. Nothing was done; it runs again, same token. */
    :: atomic { !calm && phase[me] == SUCCEEDED && is_ours(held[me], RUNNING) ->
        phase[me] = RUNS;
        printf("worker %d settles its run: conflict, runs again\n", me) }
#endif

    /* Killed, and started again with empty hands; also: told by its heartbeat that the row is no longer its own. */
    :: atomic { !calm && phase[me] != IDLE ->
        held[me] = 0; phase[me] = IDLE;
        printf("worker %d is killed\n", me) }
    od
}

/*
 * The weather, and the client ------------------------------------------------------------------------------------
 */

init {
    atomic {
        row.token = 1;  /* accept.sql: accept; it waits for the disk */
        disk.token = 1;
        run relay(0); run relay(1); run worker(0); run worker(1)
    };
    do
    /* FLUSHALL, or a restart without its memory. */
    :: atomic { nempty(redis) ->
        do
        :: nempty(redis) -> redis?_
        :: empty(redis) -> break
        od;
        printf("Redis forgets everything\n") }

    :: d_step { row.state != disk.state || row.token != disk.token -> flush_wal() }

    /* PostgreSQL crashes and comes back as the disk has it. Relays and workers live on with what they hold. */
    :: d_step { row.state != disk.state || row.token != disk.token || draft ->
        row.state = disk.state;
        row.token = disk.token;
        row.owner = disk.owner;
        row.attempt = disk.attempt;
        draft = 0;
        forget_tokens();
        printf("PostgreSQL crashes: the row has token %d again\n", row.token) }

    /* inspect.sql: cancel. A row in any state; record_unrun gives the record a token of its own. */
    :: d_step { row.state != GONE && !draft ->
        cancelled++;
#ifdef CANCEL_KEEPS_TOKEN
        end_row(row.token);
#else
        end_row(0);
#endif
        printf("the client cancels the row\n") }

    :: calm = true -> printf("calm from here on\n"); break
    od
}

/*
 * What must hold -------------------------------------------------------------------------------------------------
 */

#define ONCE      (effects <= 1)
#define CLEAN     (cancelled > 0 -> effects == 0)
#define BOOKS     (completed + dead + cancelled == (row.state == GONE) && effects == completed)
#define OWNED     (!trespass)
#define TRUTHFUL  (!misled)
#define PATIENT   (dead > 0 -> failures >= MOST_ATTEMPTS)

/* The effects of a row are applied at most once. */
ltl once { [] ONCE }
/* A cancelled row has none. */
ltl clean { [] CLEAN }
/* The row is in the table, or has ended exactly once, never two ways; it has effects exactly when it was completed. */
ltl books { [] BOOKS }
/* Nobody settles a row that was not handed to him: whoever holds the current token owns the row. */
ltl owned { [] OWNED }
/* A worker knows whether its run was the one that counted: it answers the caller with that run's result. */
ltl truthful { [] TRUTHFUL }
/* A row is a dead letter only after as many failures as it had attempts. */
ltl patient { [] PATIENT }

/* All of it in one search. */
ltl safe { [] (ONCE && CLEAN && BOOKS && OWNED && TRUTHFUL && PATIENT) }

/* Once it is calm the row ends: no accepted event is lost, whatever went before. */
ltl ends { [] (calm -> <> (row.state == GONE)) }
