// Package cgroups follows the control groups of batch jobs: it finds the hierarchies (v1, v2 and hybrid), watches them for
// groups that come and go, reads their CPU counters and tells them to the books ([jobs.Books]), so that no CPU time is
// lost or counted twice, however short a job is. It knows no scheduler: a [Matcher] says which groups are jobs, and one
// [Tracker] serves all schedulers of an agent. DESIGN.md beside the code gives the reasons.
package cgroups

import "slices"

// Version tells the two kinds of control group hierarchies apart.
type Version uint8

// The versions.
const (
	V1 Version = 1
	V2 Version = 2
)

// String returns `v1` or `v2`.
func (v Version) String() string {
	if v == V2 {
		return "v2"
	}
	return "v1"
}

// Hierarchy is one tree of control groups and where it is mounted. A machine has one of v2, several of v1, or, when it is
// hybrid, both.
type Hierarchy struct {
	Version Version
	// Path is the mount point. Paths of groups are relative to it and begin with a slash.
	Path string
	// Root is the group that the mount point shows: `/` for the whole tree, something else inside a container.
	Root string
	// Controllers are what the hierarchy accounts and limits: `cpuacct`, `memory`, `freezer`, …
	Controllers []string
}

// Has tells whether a controller is attached to the hierarchy.
func (h *Hierarchy) Has(controller string) bool { return slices.Contains(h.Controllers, controller) }

// usageFile is the file with a group's CPU time, empty where the hierarchy does not count it. On v2 it is there without
// any controller.
func (h *Hierarchy) usageFile() string {
	switch {
	case h.Version == V2:
		return "cpu.stat"
	case h.Has("cpuacct"):
		return "cpuacct.usage"
	}
	return ""
}

// holdsJobs tells whether the hierarchy is worth watching. On v1 schedulers make the same groups in many hierarchies;
// those that say nothing of a job's use or existence are left alone.
func (h *Hierarchy) holdsJobs() bool {
	return h.Version == V2 || h.Has("cpuacct") || h.Has("memory") || h.Has("cpuset") || h.Has("freezer")
}

// ofController returns the v1 hierarchy of a controller, or nil.
func ofController(hs []Hierarchy, controller string) *Hierarchy {
	for i := range hs {
		if hs[i].Version == V1 && hs[i].Has(controller) {
			return &hs[i]
		}
	}
	return nil
}
