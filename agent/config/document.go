package config

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// document is one TOML text with the places of its keys.
type document struct {
	name  string
	order int // 0 for the file, then the overrides
	// raw is what the file holds, text what is left of it for the parser: variables are replaced.
	raw, text []byte
	marks     []mark
	keys      []key
}

// mark ties a place of the text to one of the raw file, up to the next mark. In the value of a variable, all of it is tied
// to the place of the variable.
type mark struct {
	text, raw int
	isValue   bool
}

// key is one key of the document: of a header, of a line, or within an inline table.
type key struct {
	path       []string
	start, end int // of the key in the text
	value      unstable.Kind
	data       string
	header     bool
}

// place is a place in a document.
type place struct {
	doc    *document
	offset int // in the text
}

// newDocument replaces the environment variables of a file.
func newDocument(name string, raw []byte) (*document, error) {
	d := &document{name: name, raw: raw}
	err := d.substitute(os.LookupEnv)
	return d, err
}

// substitute replaces `${NAME}` by the value of the variable and `\${` by `${`.
func (d *document) substitute(lookup func(string) (string, bool)) error {
	raw := d.raw
	pos := 0
	for {
		i := bytes.Index(raw[pos:], []byte("${"))
		if i < 0 {
			break
		}
		i += pos
		if i > pos && raw[i-1] == '\\' {
			d.text = append(d.text, raw[pos:i-1]...)
			d.text = append(d.text, "${"...)
			pos = i + 2
			d.marks = append(d.marks, mark{text: len(d.text), raw: pos})
			continue
		}
		d.text = append(d.text, raw[pos:i]...)
		d.marks = append(d.marks, mark{text: len(d.text), raw: i, isValue: true})
		n := bytes.IndexAny(raw[i+2:], "}\n")
		if n < 0 || raw[i+2+n] != '}' {
			return d.at(len(d.text)).errorf("${ is not closed; write ${NAME}, or \\${ for a plain ${")
		}
		variable := string(raw[i+2 : i+2+n])
		value, ok := lookup(variable)
		if !ok {
			return d.at(len(d.text)).errorf("the environment variable %s does not exist; write \\${%s} for plain text", variable, variable)
		}
		d.text = append(d.text, value...)
		pos = i + 2 + n + 1
		d.marks = append(d.marks, mark{text: len(d.text), raw: pos})
	}
	d.text = append(d.text, raw[pos:]...)
	return nil
}

// at makes a place of the document.
func (d *document) at(offset int) place { return place{d, offset} }

// position computes line and column, from 1, in the raw file.
func (p place) position() (line, column int) {
	raw := p.offset
	i, found := slices.BinarySearchFunc(p.doc.marks, p.offset, func(m mark, o int) int { return cmp.Compare(m.text, o) })
	// Of several marks at one place the last one holds.
	for found && i+1 < len(p.doc.marks) && p.doc.marks[i+1].text == p.offset {
		i++
	}
	if !found {
		i--
	}
	if i >= 0 {
		if m := p.doc.marks[i]; m.isValue {
			raw = m.raw
		} else {
			raw = m.raw + p.offset - m.text
		}
	}
	before := p.doc.raw[:min(raw, len(p.doc.raw))]
	line = 1 + bytes.Count(before, []byte("\n"))
	return line, len(before) - bytes.LastIndexByte(before, '\n')
}

// compare orders places by document and then by offset.
func (p place) compare(o place) int {
	return cmp.Or(cmp.Compare(p.doc.order, o.doc.order), cmp.Compare(p.offset, o.offset))
}

// errorf makes an error with the place before it. The zero place adds nothing.
func (p place) errorf(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if p.doc == nil {
		return err
	}
	line, column := p.position()
	return fmt.Errorf("%s:%d:%d: %w", p.doc.name, line, column, err)
}

// offset converts the parser's line and column to an offset in the text.
func (d *document) offset(line, column int) int {
	start := 0
	for range line - 1 {
		i := bytes.IndexByte(d.text[start:], '\n')
		if i < 0 {
			break
		}
		start += i + 1
	}
	return min(start+column-1, len(d.text))
}

// keyAt returns the last key that begins at or before a place: the one that the place belongs to.
func (d *document) keyAt(offset int) *key {
	var best *key
	for i := range d.keys {
		if d.keys[i].start <= offset {
			best = &d.keys[i]
		}
	}
	return best
}

// scan notes all keys with their places. A text that cannot be parsed is left to the decoder, which says why.
func (d *document) scan() {
	var p unstable.Parser
	p.Reset(d.text)
	var table []string
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = d.note(e, nil, e.Kind, "", true)
		case unstable.KeyValue:
			d.noteValue(e, table)
		}
	}
}

// noteValue notes the key of a line and those in its value.
func (d *document) noteValue(e *unstable.Node, table []string) {
	v := e.Value()
	path := d.note(e, table, v.Kind, string(v.Data), false)
	d.noteInner(v, path)
}

func (d *document) noteInner(v *unstable.Node, path []string) {
	switch v.Kind {
	case unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			d.noteValue(it.Node(), path)
		}
	case unstable.Array:
		for it := v.Children(); it.Next(); {
			d.noteInner(it.Node(), path)
		}
	}
}

func (d *document) note(e *unstable.Node, table []string, kind unstable.Kind, data string, header bool) []string {
	k := key{path: slices.Clone(table), start: -1, value: kind, data: data, header: header}
	for it := e.Key(); it.Next(); {
		n := it.Node()
		k.path = append(k.path, string(n.Data))
		if k.start < 0 {
			k.start = int(n.Raw.Offset)
		}
		k.end = int(n.Raw.Offset + n.Raw.Length)
	}
	d.keys = append(d.keys, k)
	return k.path
}

// blank overwrites a key and its plain value with spaces, so that the decoder does not see it and all places stay. In an
// inline table the comma that belongs to it goes, too.
func (d *document) blank(k key) {
	end := k.end
	skip := func(set string) {
		for end < len(d.text) && strings.IndexByte(set, d.text[end]) >= 0 {
			end++
		}
	}
	skip(" \t")
	end++ // the equals sign
	skip(" \t")
	end += len(k.data)
	start := k.start
	after := end
	skip(" \t\r\n")
	if end < len(d.text) && d.text[end] == ',' {
		end++
	} else {
		end = after
		for i := start - 1; i >= 0 && strings.IndexByte(" \t\r\n,", d.text[i]) >= 0; i-- {
			if d.text[i] == ',' {
				start = i
				break
			}
		}
	}
	for i := start; i < end; i++ {
		if d.text[i] != '\n' && d.text[i] != '\r' {
			d.text[i] = ' '
		}
	}
}

// hasKey tells whether the document has a key.
func (d *document) hasKey(path ...string) bool {
	return slices.ContainsFunc(d.keys, func(k key) bool { return slices.Equal(k.path, path) })
}
