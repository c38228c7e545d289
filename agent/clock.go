package agent

import (
	"time"

	"golang.org/x/sys/unix"
)

// Instant is one moment on both of the agent's clocks. All sources of a tick get the same one.
type Instant struct {
	// Wall is Unix nanoseconds of the wall clock: what points are stamped with. It may step.
	Wall int64
	// Boot is ledger time: nanoseconds of CLOCK_BOOTTIME plus an offset that is chosen once per boot. It never goes back.
	Boot int64
}

// AtWall maps another wall-clock stamp, such as that of a late sensor, onto ledger time.
func (i Instant) AtWall(unixNs int64) int64 { return i.Boot + (unixNs - i.Wall) }

// Time returns the wall clock's time in UTC.
func (i Instant) Time() time.Time { return time.Unix(0, i.Wall).UTC() }

// Clock gives instants. Offset is what is added to CLOCK_BOOTTIME; it is chosen once per boot and kept in the store, so
// that ledger time goes on over restarts and reboots.
type Clock struct {
	Offset int64
}

// Now reads both clocks.
func (c Clock) Now() Instant {
	return Instant{Wall: time.Now().UnixNano(), Boot: BootNs() + c.Offset}
}

// BootNs reads CLOCK_BOOTTIME in nanoseconds since boot; unlike CLOCK_MONOTONIC it goes on in suspension.
func BootNs() int64 {
	var ts unix.Timespec
	// The call cannot fail: every kernel that this program runs on has the clock, and ts is valid memory.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return ts.Nano()
}
