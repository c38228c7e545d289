package cgroups

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alumet-hpc/alumet-hpc/agent"
)

// Find returns the hierarchies that are mounted, each once, as <proc>/self/mountinfo has them. The error wraps
// [agent.ErrNotSupported] when there are none.
func Find(proc string) ([]Hierarchy, error) {
	path := filepath.Join(proc, "self/mountinfo")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("find control groups: %w", err)
	}
	hs := parseMountinfo(string(data))
	if len(hs) == 0 {
		return nil, fmt.Errorf("%w: no control group file system is mounted according to %s", agent.ErrNotSupported, path)
	}
	for i := range hs {
		if h := &hs[i]; h.Version == V2 {
			// Without the file no controller is attached; CPU time is counted all the same.
			list, _ := os.ReadFile(filepath.Join(h.Path, "cgroup.controllers"))
			h.Controllers = strings.Fields(string(list))
		}
	}
	return hs, nil
}

// mount is a control group mount and the device that identifies its hierarchy.
type mount struct {
	Hierarchy
	device string
}

// parseMountinfo returns the hierarchies of /proc/PID/mountinfo. Several mounts of one hierarchy have the same device; the
// one that shows the most of it is kept. A mount point that is mounted over belongs to the later mount.
func parseMountinfo(data string) []Hierarchy {
	var mounts []mount
	for line := range strings.Lines(data) {
		m, isCgroup, ok := parseMount(strings.TrimSuffix(line, "\n"))
		if !ok {
			continue
		}
		mounts = slices.DeleteFunc(mounts, func(o mount) bool { return o.Path == m.Path })
		if !isCgroup {
			continue
		}
		i := slices.IndexFunc(mounts, func(o mount) bool { return o.device == m.device })
		switch {
		case i < 0:
			mounts = append(mounts, m)
		case len(m.Root) < len(mounts[i].Root):
			mounts[i] = m
		}
	}
	hs := make([]Hierarchy, len(mounts))
	for i := range mounts {
		hs[i] = mounts[i].Hierarchy
	}
	return hs
}

// parseMount parses one line: `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG…] - TYPE SOURCE SUPEROPTIONS`.
func parseMount(line string) (m mount, isCgroup, ok bool) {
	left, right, found := strings.Cut(line, " - ")
	l, r := strings.Fields(left), strings.Fields(right)
	if !found || len(l) < 6 || len(r) < 1 {
		return m, false, false
	}
	m = mount{Hierarchy{Path: unescape(l[4]), Root: unescape(l[3])}, l[2]}
	switch r[0] {
	case "cgroup2":
		m.Version = V2
	case "cgroup":
		m.Version = V1
		if len(r) > 2 {
			m.Controllers = controllersOf(r[2])
		}
	default:
		return m, false, true
	}
	return m, true, true
}

// controllersOf picks the controllers out of the options of a v1 mount: the others are flags and `name=…`.
func controllersOf(options string) []string {
	var list []string
	for o := range strings.SplitSeq(options, ",") {
		switch o {
		case "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "net_cls", "net_prio",
			"perf_event", "hugetlb", "rdma", "misc":
			list = append(list, o)
		}
	}
	return list
}

// unescape replaces the octal escapes that the kernel writes for blanks and backslashes in paths.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && isOctal(s[i+1]) && isOctal(s[i+2]) && isOctal(s[i+3]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isOctal(c byte) bool { return c >= '0' && c <= '7' }

// AnyParent tells whether a scheduler's groups exist: whether any group near the top of a hierarchy is a Parent to m.
func AnyParent(hs []Hierarchy, m Matcher) bool {
	for i := range hs {
		if hs[i].holdsJobs() && parentBelow(&hs[i], hs[i].Path, m) {
			return true
		}
	}
	return false
}

func parentBelow(h *Hierarchy, dir string, m Matcher) bool {
	list, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range list {
		if !e.IsDir() {
			continue
		}
		path := dir + "/" + e.Name()
		switch role := m.Match(relative(h, path), h.Version).Role; {
		case role == Parent, role == Above && parentBelow(h, path, m):
			return true
		}
	}
	return false
}
