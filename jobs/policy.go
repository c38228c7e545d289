package jobs

import (
	"fmt"
	"strings"
)

// Policy says by which weights the energy of an interval is divided.
type Policy uint8

// The policies; see DESIGN.md for when each is fair.
const (
	// PolicyHybrid divides the idle floor as PolicyAllocated and what is above it as PolicyUsage.
	PolicyHybrid Policy = iota
	// PolicyUsage divides all energy by CPU time among jobs and system.
	PolicyUsage
	// PolicyCapacity divides by CPU time over what the machine could give; the rest is idle.
	PolicyCapacity
	// PolicyAllocated divides by CPUs held and time; the rest is idle.
	PolicyAllocated
)

// policyVersion counts changes of the formulas. It is stored beside every figure, so that a number can always be explained.
const policyVersion = 1

// Name is the policy's word in configuration and traces.
func (p Policy) Name() string { return [...]string{"hybrid", "usage", "capacity", "allocated"}[p] }

// String is name and version, as stored beside the figures: `hybrid/1`.
func (p Policy) String() string { return fmt.Sprintf("%s/%d", p.Name(), policyVersion) }

// UnmarshalText reads a policy's name.
func (p *Policy) UnmarshalText(text []byte) error {
	for q := PolicyHybrid; q <= PolicyAllocated; q++ {
		if q.Name() == string(text) {
			*p = q
			return nil
		}
	}
	return fmt.Errorf("policy %q is unknown: want hybrid, usage, capacity or allocated", strings.TrimSpace(string(text)))
}

// MarshalText writes the policy's name.
func (p Policy) MarshalText() ([]byte, error) { return []byte(p.Name()), nil }
