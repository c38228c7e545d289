package cgroups

import (
	"fmt"
	"slices"
)

// scope is what one matcher sees in the hierarchies of one version. Only of a scope that the run before has watched, too,
// does the state tell what was made and removed since; any other is new to the books, and what is in it was found.
type scope struct {
	version Version
	by      int // index of the matcher
	// name stands for the scope in the state. The mount point is no part of it, since paths are below it; the root is, and
	// whether CPU time was counted: a group whose counter could not be read before was not followed before.
	name string
}

func scopesOf(hs []Hierarchy, ms []Matcher) (list []scope) {
	for _, v := range []Version{V1, V2} {
		root, counts, holds := "", false, false
		for i := range hs {
			h := &hs[i]
			if h.Version != v || !h.holdsJobs() {
				continue
			}
			if !holds || h.usageFile() != "" {
				root = h.Root
			}
			holds, counts = true, counts || h.usageFile() != ""
		}
		if !holds {
			continue
		}
		for i, m := range ms {
			list = append(list, scope{v, i, fmt.Sprintf("%s %s %t %T", v, root, counts, m)})
		}
	}
	return list
}

// scopeOf returns the index of a group's scope.
func (t *Tracker) scopeOf(n *node) int {
	return slices.IndexFunc(t.scopes, func(s scope) bool { return s.version == n.version && s.by == n.by })
}

// watched tells whether the run that kept the state has watched the scope of a group.
func (s *state) watched(t *Tracker, n *node) bool {
	i := t.scopeOf(n)
	return i >= 0 && slices.Contains(s.scopes, t.scopes[i].name)
}

// narrow drops what the state knows of scopes that are not watched now, because a plugin is disabled for example. Nobody
// tells what becomes of those groups, so that they end for the books; the parents keep what they have counted. It returns
// how many jobs that are.
func (s *state) narrow(t *Tracker, p *parents) (dropped int) {
	gone := make([]bool, len(s.scopes))
	for i, name := range s.scopes {
		gone[i] = !slices.ContainsFunc(t.scopes, func(x scope) bool { return x.name == name })
	}
	stay := map[unitKey]bool{}
	for i := range s.nodes {
		n := &s.nodes[i]
		if n.dropped = gone[n.scope]; !n.dropped {
			stay[n.unit] = true
			continue
		}
		if s.root(n) {
			p.ended += partOf(n.total, n.others)
		}
		delete(s.byPath, nodeKey{n.version, n.path})
	}
	for k := range s.units {
		if stay[k] {
			continue
		}
		if delete(s.units, k); k.step == "" {
			dropped++
		}
	}
	return dropped
}

// root tells what [parents.arrive] tells of a living group.
func (s *state) root(n *savedNode) bool {
	if n.role != Job {
		return n.role == Parent
	}
	for up := n.up; up >= 0; up = s.nodes[up].up {
		if s.nodes[up].role == Parent {
			return false
		}
	}
	return true
}
