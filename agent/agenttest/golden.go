package agenttest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alumet-hpc/alumet-hpc/agent"
)

// update is the flag of all golden files: `go test ./hwsources/rapl -update`.
var update = flag.Bool("update", false, "rewrite golden files with what the tests got")

// Golden compares got with a golden file of the package that is tested, or rewrites the file under -update.
func Golden(t testing.TB, path string, got []byte) {
	t.Helper()
	path = filepath.FromSlash(path)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("differs from %s (-update rewrites it):\n%s", path, Diff(string(want), string(got)))
	}
}

// Diff shows the lines of got and want that differ at the same place, at most ten of them.
func Diff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	var b strings.Builder
	shown := 0
	for i := range max(len(w), len(g)) {
		x, y := line(w, i), line(g, i)
		if x == y {
			continue
		}
		if shown++; shown > 10 {
			b.WriteString("…\n")
			break
		}
		fmt.Fprintf(&b, "line %d: want %s\n%*s got %s\n", i+1, x, len(fmt.Sprint(i+1))+6, "", y)
	}
	return b.String()
}

func line(lines []string, i int) string {
	if i >= len(lines) {
		return "(end)"
	}
	return fmt.Sprintf("%q", lines[i])
}

// Points formats points for comparison, one a line: metric and unit, value, resource, consumer and attributes. Times are
// left out, as all points of a poll have the same.
func Points(points []agent.Point) string {
	var b []byte
	for _, p := range points {
		b = append(b, p.Metric.Name...)
		if u := p.Metric.Unit.DisplayName(); u != "" {
			b = append(b, '_')
			b = append(b, u...)
		}
		b = append(b, ' ')
		b = p.Value.Append(b)
		b = append(b, ' ')
		b = append(b, p.Resource.Kind...)
		b = append(b, '/')
		b = append(b, p.Resource.ID...)
		b = append(b, ' ')
		b = append(b, p.Consumer.Kind...)
		b = append(b, '/')
		b = append(b, p.Consumer.ID...)
		for _, a := range p.Attrs.List() {
			b = append(b, ' ')
			b = append(b, a.Key...)
			b = append(b, '=')
			b = a.Value.Append(b)
		}
		b = append(b, '\n')
	}
	return string(b)
}

// CheckPoints compares points with the text of [Points]; white space at the ends does not count. It also checks what holds
// for every point: its value has its metric's type, and its attributes are known to the metric.
func CheckPoints(t testing.TB, points []agent.Point, want string) {
	t.Helper()
	for _, p := range points {
		if p.Value.Type() != p.Metric.Type {
			t.Errorf("%s: the value is %s, the metric %s", p.Metric.Name, p.Value.Type(), p.Metric.Type)
		}
		for _, a := range p.Attrs.List() {
			if !slices.Contains(p.Metric.Attributes, a.Key) {
				t.Errorf("%s: the attribute %s is not in the metric's definition", p.Metric.Name, a.Key)
			}
		}
	}
	if got, want := strings.TrimSpace(Points(points)), strings.TrimSpace(want); got != want {
		t.Errorf("points differ:\n%s", Diff(want, got))
	}
}
