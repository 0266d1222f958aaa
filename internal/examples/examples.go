// Package examples reads a user's example file: the few questions, with or
// without answers, that a customisation is made from. CSV, JSON lines, OpenAI
// chat lines and plain lines are told apart by what is in them.
package examples

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"

	"crayon/internal/fault"
)

// Bounds of an example file.
const (
	MaxBytes = 64 << 20 // of a file
	MaxRows  = 100_000
	maxField = 256 << 10 // bytes of one text
	maxPicks = 1000      // choices of one row
)

// Example is one row of a user's file.
type Example struct {
	Question string
	Answer   string   // "" unless Labelled
	Context  string   // text the question is about, or the system turn; may be empty
	Choices  []string // the row's own choices, or the label set in a label task; nil when there are none
	Labelled bool     // Answer is known
	Server   string   // what the server answered, where Options.Server; "" not known
	Line     int      // line of the file the row starts on, from 1
}

// Set is a whole example file.
type Set struct {
	Examples   []Example
	Labels     []string // the label set, sorted; nil when it is not a label task
	Inferred   bool     // Labels are the answers found in the rows: another row could add one
	Source     string   // the file's path, "stdin" for standard input
	Duplicates int      // rows left out because an earlier one is the same
}

// Options settles what the file leaves open.
type Options struct {
	Labels []string // the label set, when the user names it
	Server bool     // rows may have a field server
}

// Read reads an example file; path "-" is standard input.
func Read(path string, opt Options) (*Set, error) {
	if path == "-" {
		return Parse("stdin", os.Stdin, opt)
	}
	f, err := os.Open(path)
	if err != nil {
		var why *os.PathError
		if errors.As(err, &why) {
			err = why.Err
		}
		return nil, &fault.Error{Op: "read examples", Path: path, Err: err,
			Hint: "check the path, or begin with `crayon customize --template > mine.csv`"}
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return nil, &fault.Error{Op: "read examples", Path: path, Err: errors.New("is a folder"), Hint: "name one file in it"}
	}
	return Parse(path, f, opt)
}

// Parse reads examples from r; name is used in errors and to guess at the
// format where the contents leave it open.
func Parse(name string, r io.Reader, opt Options) (*Set, error) {
	p := &reader{name: name, server: opt.Server}
	data, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil {
		return nil, p.fail(0, err, "check the disk or the command that feeds it")
	}
	if data, err = p.clean(data); err != nil {
		return nil, err
	}
	if err := p.rows(data); err != nil {
		return nil, err
	}
	set := &Set{Source: name}
	if set.Examples, set.Duplicates, err = p.unique(); err != nil {
		return nil, err
	}
	if len(set.Examples) == 0 {
		return nil, p.fail(0, errors.New("no example in it"), templateHint)
	}
	if err := p.label(set, opt); err != nil {
		return nil, err
	}
	return set, nil
}

const templateHint = "`crayon customize --template > mine.csv` writes a file to start from"

// reader gathers the rows of one file.
type reader struct {
	name   string
	out    []Example
	server bool // there may be a field server
}

// fail is an error at a line, 0 for the whole file.
func (p *reader) fail(line int, err error, hint string) error {
	path := p.name
	if line > 0 {
		path = fmt.Sprintf("%s:%d", p.name, line)
	}
	return &fault.Error{Op: "read examples", Path: path, Err: err, Hint: hint}
}

// clean checks the file as a whole and returns it without byte order mark and
// with lines that end in \n.
func (p *reader) clean(data []byte) ([]byte, error) {
	if len(data) > MaxBytes {
		return nil, p.fail(0, fmt.Errorf("larger than %d MiB", MaxBytes>>20), "a few dozen examples are enough: keep those that show what you want")
	}
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return nil, p.fail(0, errors.New("the text is UTF-16"), "save it as UTF-8 (in a spreadsheet: CSV UTF-8)")
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	lineOf := func(at int) int { return 1 + bytes.Count(data[:at], []byte{'\n'}) }
	if at := bytes.IndexByte(data, 0); at >= 0 {
		return nil, p.fail(lineOf(at), errors.New("holds a NUL byte, so it is not text"), "export the table as CSV; a spreadsheet's own format cannot be read")
	}
	for at := 0; at < len(data); {
		r, n := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && n == 1 {
			return nil, p.fail(lineOf(at), fmt.Errorf("byte 0x%02x is not UTF-8", data[at]), "save the file as UTF-8, or: iconv -f WINDOWS-1252 -t UTF-8 FILE")
		}
		at += n
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, p.fail(0, errors.New("the file is empty"), templateHint)
	}
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	if bytes.IndexByte(data, '\n') < 0 { // the lines of old Mac files
		data = bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
	}
	return data, nil
}

// add checks one row and keeps it. choices is nil when the row has none.
func (p *reader) add(e Example, choices []string) error {
	e.Question, e.Answer, e.Context, e.Server = strings.TrimSpace(e.Question), strings.TrimSpace(e.Answer), strings.TrimSpace(e.Context), strings.TrimSpace(e.Server)
	for _, f := range []struct{ name, text string }{{"question", e.Question}, {"answer", e.Answer}, {"context", e.Context}, {"server", e.Server}} {
		if len(f.text) > maxField {
			return p.fail(e.Line, fmt.Errorf("field %s has %d bytes, at most %d", f.name, len(f.text), maxField), "shorten it; no small LLM reads that much")
		}
	}
	if e.Question == "" {
		return p.fail(e.Line, errors.New("field question is empty"), "write the question, or delete the row")
	}
	if len(p.out) >= MaxRows {
		return p.fail(e.Line, fmt.Errorf("more than %d rows", MaxRows), "a few dozen examples are enough: keep those that show what you want")
	}
	e.Labelled = e.Answer != ""
	if choices != nil {
		if err := p.choose(&e, choices); err != nil {
			return err
		}
	}
	p.out = append(p.out, e)
	return nil
}

// choose checks a row's choices and sets them.
func (p *reader) choose(e *Example, choices []string) error {
	if len(choices) < 2 || len(choices) > maxPicks {
		return p.fail(e.Line, fmt.Errorf("field choices has %d of them, wanted 2 to %d", len(choices), maxPicks), "write them as a|b|c, or leave the field empty")
	}
	seen := map[string]bool{}
	for _, c := range choices {
		c = strings.TrimSpace(c)
		switch {
		case c == "":
			return p.fail(e.Line, errors.New("field choices has an empty one"), "look for || or a | at an end")
		case len(c) > maxField:
			return p.fail(e.Line, fmt.Errorf("field choices has one of %d bytes, at most %d", len(c), maxField), "shorten it")
		case seen[c]:
			return p.fail(e.Line, fmt.Errorf("field choices has %q twice", c), "take one out")
		}
		seen[c] = true
		e.Choices = append(e.Choices, c)
	}
	if e.Labelled && !seen[e.Answer] {
		return p.fail(e.Line, fmt.Errorf("field answer: %q is not among the row's choices", e.Answer), "did you mean "+quote(nearest(e.Answer, e.Choices))+"?")
	}
	return nil
}

// unique leaves out repeated rows and refuses one question with two answers.
func (p *reader) unique() (kept []Example, dropped int, err error) {
	first := map[string]int{}
	for _, e := range p.out {
		key := fold(e.Question) + "\x00" + fold(e.Context) + "\x00" + strings.Join(e.Choices, "\x00")
		at, seen := first[key]
		switch {
		case !seen:
			first[key] = len(kept)
			kept = append(kept, e)
		case e.Labelled && kept[at].Labelled && e.Answer != kept[at].Answer:
			return nil, 0, p.fail(e.Line, fmt.Errorf("field answer: %q, but line %d answers the same question with %q", short(e.Answer), kept[at].Line, short(kept[at].Answer)),
				"keep one of the two rows")
		case e.Labelled && !kept[at].Labelled:
			kept[at], dropped = e, dropped+1
		default:
			dropped++
		}
	}
	return kept, dropped, nil
}

// fold is a text as it is compared: case and spacing do not count.
func fold(s string) string { return strings.ToLower(strings.Join(strings.Fields(s), " ")) }

// nearest is the name with the fewest edits from s, or that s abbreviates.
func nearest(s string, names []string) string {
	best, at := -1, 0
	for i, n := range names {
		d := levenshtein.ComputeDistance(fold(short(s)), fold(short(n)))
		if s != "" && strings.HasPrefix(fold(n), fold(s)) {
			d = 0 // an abbreviation
		}
		if best < 0 || d < best {
			best, at = d, i
		}
	}
	return names[at]
}

// short cuts a text for an error message.
func short(s string) string {
	const most = 60
	n := 0
	for i := range s {
		if n++; n > most {
			return s[:i] + "..."
		}
	}
	return s
}

func quote(s string) string { return fmt.Sprintf("%q", short(s)) }

// Template is the CSV file a user starts from.
func Template() string {
	return `question,answer
"My parcel was left in the rain, who do I tell?",complaint
The lid is cracked and I would like my money back,complaint
Do you have the blue one in a larger size?,stock
When will the small green pots be in again?,stock
"Can I pick it up on Saturday, around noon?",collection
Where do I park when I come to fetch my order?,collection
`
}
