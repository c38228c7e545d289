package report

import (
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Look is how a table is to be written.
type Look struct {
	// Width is how many columns a line may have; 0: as many as it takes.
	Width  int
	Colour bool
	Zone   *time.Location // nil: the local one
}

func (l Look) zone() *time.Location {
	if l.Zone == nil {
		return time.Local
	}
	return l.Zone
}

// The ways in which text stands out, as terminals' SGR codes.
const (
	plain  = ""
	bold   = "1"
	dim    = "2"
	yellow = "33"
	red    = "31;1"
)

func (l Look) paint(style, s string) string {
	if !l.Colour || style == plain || s == "" {
		return s
	}
	return "\x1b[" + style + "m" + s + "\x1b[0m"
}

// grid is a table that gives up columns rather than wrap its lines.
type grid struct {
	columns []column
	rows    []row
}

type column struct {
	head string
	left bool // text is aligned to the left, numbers to the right
	drop int  // columns with larger numbers give way first; 0 stays
	fine bool // the last three digits are micro, and shown so
}

type row struct {
	style string
	cells []string
}

func (g *grid) add(style string, cells ...string) { g.rows = append(g.rows, row{style, cells}) }

const gutter = 2

// fit keeps the columns that fit, chosen in the order of their importance, and shortens the first where even those that
// must stay do not. It returns the heads of what was removed.
func (g *grid) fit(width int) (dropped []string) {
	if width <= 0 || g.width() <= width {
		return nil
	}
	order := make([]int, len(g.columns))
	used := -gutter
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return g.columns[a].drop - g.columns[b].drop })
	keep := make([]bool, len(g.columns))
	for _, i := range order {
		need := gutter + g.columnWidth(i)
		if g.columns[i].drop == 0 || used+need <= width {
			keep[i] = true
			used += need
		}
	}
	for i := len(keep) - 1; i >= 0; i-- {
		if !keep[i] {
			dropped = append(dropped, g.columns[i].head)
			g.remove(i)
		}
	}
	if used > width {
		g.shortenFirst(used - width)
	}
	slices.Reverse(dropped)
	return dropped
}

func (g *grid) remove(i int) {
	g.columns = slices.Delete(g.columns, i, i+1)
	for k := range g.rows {
		g.rows[k].cells = slices.Delete(g.rows[k].cells, i, i+1)
	}
}

func (g *grid) shortenFirst(by int) {
	const least = 8
	n := max(least, g.columnWidth(0)-by)
	for i := range g.rows {
		g.rows[i].cells[0] = shorten(g.rows[i].cells[0], n)
	}
}

// dropEmpty removes columns, other than the first, that have nothing in any row.
func (g *grid) dropEmpty() {
	for i := len(g.columns) - 1; i > 0; i-- {
		if slices.ContainsFunc(g.rows, func(r row) bool { return r.cells[i] != "" }) {
			continue
		}
		g.remove(i)
	}
}

func (g *grid) columnWidth(i int) int {
	w := utf8.RuneCountInString(g.columns[i].head)
	for _, r := range g.rows {
		w = max(w, utf8.RuneCountInString(r.cells[i]))
	}
	return w
}

func (g *grid) width() int {
	w := -gutter
	for i := range g.columns {
		w += gutter + g.columnWidth(i)
	}
	return w
}

func (g *grid) write(w io.Writer, look Look) error {
	heads := make([]string, len(g.columns))
	for i, c := range g.columns {
		heads[i] = c.head
	}
	if err := g.writeRow(w, look, row{bold, heads}); err != nil {
		return err
	}
	for _, r := range g.rows {
		if err := g.writeRow(w, look, r); err != nil {
			return err
		}
	}
	return nil
}

func (g *grid) writeRow(w io.Writer, look Look, r row) error {
	var b strings.Builder
	for i, c := range g.columns {
		if i > 0 {
			b.WriteString(strings.Repeat(" ", gutter))
		}
		pad := strings.Repeat(" ", g.columnWidth(i)-utf8.RuneCountInString(r.cells[i]))
		if !c.left {
			b.WriteString(pad)
		}
		b.WriteString(paintCell(look, c, r, r.cells[i]))
		if c.left && i < len(g.columns)-1 {
			b.WriteString(pad)
		}
	}
	_, err := io.WriteString(w, strings.TrimRight(b.String(), " ")+"\n")
	return err
}

// paintCell shows the digits below a millijoule less strongly: they are there for the sum, not for the eye.
func paintCell(look Look, c column, r row, cell string) string {
	const micro = 3
	if c.fine && r.style == plain && len(cell) > micro+1 && strings.Contains(cell, ".") {
		cut := len(cell) - micro
		return cell[:cut] + look.paint(dim, cell[cut:])
	}
	return look.paint(r.style, cell)
}

// shorten cuts the middle out of a name, where sensors differ least: nvml:..:3b:00.0.
func shorten(s string, n int) string {
	runes := []rune(s)
	if len(runes) <= n || n < 5 {
		return s
	}
	head := (n - 2) / 3
	if i := strings.IndexByte(s, ':') + 1; i > 0 && i <= (n-2)/2 {
		head = i
	}
	return string(runes[:head]) + ".." + string(runes[len(runes)-(n-2-head):])
}

// wrap breaks text into lines of at most width columns at its spaces; the first line has already used some.
func wrap(text string, width, used int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case used+utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
			lines, line = append(lines, line), word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}
