package main

import (
	"fmt"
	"io"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// truthPeriod is the time between two rewrites of the truth file.
const truthPeriod = 200 * time.Millisecond

// loop runs the simulator by the clock.
type loop struct {
	s        *simulator
	interval time.Duration
	stop     <-chan os.Signal
	since    int64      // start, Unix ns
	file     *truthFile // nil without --truth

	ticks   uint64
	longest time.Duration // between two ticks
}

// run ticks until a signal comes, and once more then. What is billed is the
// time that really passed, suspended time included; the sleep only paces.
func (l *loop) run() error {
	last, err := clock(unix.CLOCK_BOOTTIME)
	if err != nil {
		return err
	}
	next, err := clock(unix.CLOCK_MONOTONIC)
	if err != nil {
		return err
	}
	reported := last
	for {
		stopped := l.signalled()
		now, err := clock(unix.CLOCK_BOOTTIME)
		if err != nil {
			return err
		}
		if err := l.s.tick(uint64(now - last)); err != nil {
			return err
		}
		l.ticks++
		l.longest = max(l.longest, now-last)
		last = now
		if stopped {
			return nil
		}
		if l.file != nil && now-reported >= truthPeriod {
			reported = now
			if err := l.file.offer(l.s.report(l.since, time.Now().UnixNano())); err != nil {
				return err
			}
		}
		if next, err = l.sleep(next); err != nil {
			return err
		}
	}
}

// signalled says whether the end was asked for.
func (l *loop) signalled() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// sleep sleeps until the next tick is due and returns its time. Ticks that
// were missed are left out, not made up for.
func (l *loop) sleep(due time.Duration) (time.Duration, error) {
	now, err := clock(unix.CLOCK_MONOTONIC)
	if err != nil {
		return 0, err
	}
	due += l.interval
	if due < now {
		due = now
	}
	at := unix.NsecToTimespec(int64(due))
	for {
		// A raw system call: were the runtime told of it, it would hand the
		// processor to another thread and back at every tick, which costs
		// several times what the readings do. A collection of garbage may have
		// to wait for the end of the interval.
		_, _, errno := unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME,
			uintptr(unsafe.Pointer(&at)), 0, 0, 0)
		if errno == 0 {
			return due, nil
		}
		if errno != unix.EINTR {
			return 0, fmt.Errorf("sleep: %w", errno)
		}
	}
}

// clock reads a clock of the kernel.
func clock(id int32) (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// summary says what the simulation cost and how even it was.
func (l *loop) summary(w io.Writer) {
	elapsed := time.Duration(l.s.elapsed)
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil || elapsed == 0 {
		return
	}
	cpu := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	fmt.Fprintf(w, "powersim: %v of CPU time in %v (%.1f %% of a core), %d readings (%.0f a second), longest gap %v\n",
		cpu.Round(time.Millisecond), elapsed.Round(time.Millisecond), 100*cpu.Seconds()/elapsed.Seconds(),
		l.ticks, float64(l.ticks)/elapsed.Seconds(), l.longest.Round(time.Microsecond))
}
