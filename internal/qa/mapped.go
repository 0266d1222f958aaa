package qa

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"

	"crayon/internal/fault"
)

// mapped reads a source's files as rows.
type mapped struct {
	dataset  string
	m        Map
	optional bool // columns of the normal form may be missing
	skip     bool
	of       *set // all splits, for their distinct answers

	once   sync.Once
	labels []string
	err    error
}

// rows streams the rows of one file; first is the number of rows before it in
// the split.
func (d *mapped) rows(f *dataFile, split string, first int) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		n := 0
		fail := func(err error, hint string) {
			yield(Row{}, &fault.Error{Op: "read data", Path: fmt.Sprintf("%s, row %d", f.path, n), Err: err, Hint: hint})
		}
		m := d.m
		if m.Distinct {
			if d.once.Do(d.distinct); d.err != nil {
				fail(d.err, "docs/data.md shows how columns are mapped")
				return
			}
			m.Labels = d.labels
		}
		f.rows, f.skipped = 0, 0
		for rec, err := range records(f.path) {
			n++
			if err == nil && first+n > MaxRows {
				err = fmt.Errorf("more than %d rows", MaxRows)
			}
			if err != nil {
				fail(err, "mend the file, or fetch it anew")
				return
			}
			one := m
			if d.optional {
				one = m.withColumns(rec)
			}
			row, err := one.row(d.dataset, fmt.Sprintf("%s-%d", split, first+n), rec)
			if err != nil && d.skip {
				f.skipped++
				continue
			}
			if err != nil {
				fail(err, "mend the source's map: (docs/data.md) or the row, or set skip_bad: true")
				return
			}
			f.rows++
			if !yield(row, nil) {
				return
			}
		}
	}
}

// distinct collects the answers of all splits, sorted.
func (d *mapped) distinct() {
	seen := map[string]bool{}
	for _, name := range sortedSplits(d.of.splits) {
		for _, f := range d.of.splits[name].files {
			for rec, err := range records(f.path) {
				if err != nil {
					d.err = err
					return
				}
				v, ok := at(rec, d.m.Answer)
				if !ok {
					d.err = fmt.Errorf("answer: there is no column %q, only %s", d.m.Answer, shown(sortedSplits(rec)))
					return
				}
				s, err := asText(v)
				if s = strings.TrimSpace(s); err != nil || s == "" {
					continue // its row says what is wrong with it
				}
				if seen[s] = true; len(seen) > MaxChoices {
					d.err = fmt.Errorf("distinct: more than %d different answers", MaxChoices)
					return
				}
			}
		}
	}
	if d.labels = sortedSplits(seen); len(d.labels) < 2 {
		d.err = errors.New("distinct: all rows have one answer")
	}
}
