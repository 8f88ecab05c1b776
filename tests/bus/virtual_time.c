// Preloaded into a program so that it lives in the virtual time of a board.
//
// Promises: sleeping costs no real time, it adds to a counter in shared memory; the monotonic clock
// is the real one plus that counter, to which the board adds what its own work takes. A timer that
// is set to a moment of the monotonic clock rings then.
// INTERRUPT_AT_SLEEP=n presses Ctrl-C when the program goes to sleep for the n-th time, and
// INTERRUPT_AT_POLL=n when libusb looks for the n-th time whether a transfer is done. The latter is
// for programs that catch it: the bus cannot take it if one dies in the middle of a transfer.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

struct ahead { // nanoseconds by which virtual time is ahead of the real clock
    _Atomic int64_t slept;  // programs write this
    _Atomic int64_t worked; // the board writes this
};

static struct ahead nowhere;
static struct ahead *ahead = &nowhere;

__attribute__((constructor)) static void
find_counter(void)
{
    const char *path = getenv("VIRTUAL_TIME");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) {
        return;
    }
    void *page = mmap(NULL, sizeof *ahead, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED) {
        ahead = page;
    }
    close(fd);
}

static int64_t
skipped(void)
{
    return atomic_load(&ahead->slept) + atomic_load(&ahead->worked);
}

static int64_t
nanoseconds(const struct timespec *time)
{
    return time->tv_sec * SECOND + time->tv_nsec;
}

static struct timespec
timespec_of(int64_t time)
{
    return (struct timespec){ .tv_sec = time / SECOND, .tv_nsec = time % SECOND };
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real) {
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    }
    int error = real(clock, now);
    if (!error && clock == CLOCK_MONOTONIC) {
        *now = timespec_of(nanoseconds(now) + skipped());
    }
    return error;
}

static void
interrupt_at(const char *name, long *counted)
{
    const char *last = getenv(name);
    if (last && ++*counted == strtol(last, NULL, 10)) {
        raise(SIGINT);
    }
}

static void
sleep_for(int64_t nap)
{
    static long sleeps;
    atomic_fetch_add(&ahead->slept, nap);
    interrupt_at("INTERRUPT_AT_SLEEP", &sleeps);
}

int
nanosleep(const struct timespec *wanted, struct timespec *left)
{
    (void)left;
    sleep_for(nanoseconds(wanted));
    return 0;
}

int
clock_nanosleep(clockid_t clock, int flags, const struct timespec *wanted, struct timespec *left)
{
    (void)left;
    int64_t nap = nanoseconds(wanted);
    if (flags & TIMER_ABSTIME) {
        struct timespec now;
        clock_gettime(clock, &now);
        nap -= nanoseconds(&now);
    }
    if (nap > 0) {
        sleep_for(nap);
    }
    return 0;
}

// libusb has one timer and sets it to moments of the monotonic clock.
static int timer = -1;
static int64_t rings;   // virtual
static int64_t set_for; // what was skipped when it was set

static int
set_timer(int fd, int flags, const struct itimerspec *set, struct itimerspec *old)
{
    static int (*real)(int, int, const struct itimerspec *, struct itimerspec *);
    if (!real) {
        real = (int (*)(int, int, const struct itimerspec *, struct itimerspec *))dlsym(
            RTLD_NEXT, "timerfd_settime");
    }
    struct itimerspec moved = *set;
    if ((flags & TFD_TIMER_ABSTIME) && rings) {
        set_for = skipped();
        int64_t moment = rings - set_for;
        moved.it_value = timespec_of(moment > 0 ? moment : 1);
    }
    return real(fd, flags, &moved, old);
}

int
timerfd_settime(int fd, int flags, const struct itimerspec *set, struct itimerspec *old)
{
    timer = flags & TFD_TIMER_ABSTIME ? fd : -1;
    rings = nanoseconds(&set->it_value);
    return set_timer(fd, flags, set, old);
}

int
poll(struct pollfd *files, nfds_t count, int timeout)
{
    static int (*real)(struct pollfd *, nfds_t, int);
    if (!real) {
        real = (int (*)(struct pollfd *, nfds_t, int))dlsym(RTLD_NEXT, "poll");
    }
    static long polls;
    interrupt_at("INTERRUPT_AT_POLL", &polls);
    if (timer >= 0 && rings && skipped() != set_for) {
        struct itimerspec same = { .it_value = timespec_of(rings) };
        set_timer(timer, TFD_TIMER_ABSTIME, &same, NULL);
    }
    return real(files, count, timeout);
}
