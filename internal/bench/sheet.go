package bench

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"crayon/internal/fault"
)

// Sheet is one user's scored rows at one number of examples and one draw of
// them: everything that the figures are made from. A raw file holds a sheet a
// line; its lists have one entry a row, in the same order.
type Sheet struct {
	User     string `json:"user"`
	Dataset  string `json:"dataset"`
	Group    Group  `json:"group"`
	Fold     int    `json:"fold,omitempty"`     // the fold that leaves the data set out; 0: none
	Constant bool   `json:"constant,omitempty"` // the user's question is one constant string
	Train    uint64 `json:"train,omitempty"`    // seed of the pool's training
	Shots    int    `json:"shots"`              // k, as asked; a user may have fewer
	Draw     int    `json:"draw"`               // of the examples, from 0

	IDs     []string `json:"ids"`
	Choices []int    `json:"choices"` // how many; 0 where a row has none
	Answers []int    `json:"answers"` // index of the gold choice; -1 where a row has none
	// Picks are the chosen indices by strategy; -1 is a blind guess, which
	// counts 1 / choices.
	Picks map[string][]int `json:"picks,omitempty"`
	// Said has 1 where the greedy answer is the right one, else 0, by strategy.
	Said map[string][]int `json:"said,omitempty"`
	// Chosen is what a strategy that selects among others selected.
	Chosen map[string]string `json:"chosen,omitempty"`
	// Chat is the mean negative log-probability a token of plain chat, by strategy.
	Chat map[string]float64 `json:"chat,omitempty"`
	// Scores are each choice's score by strategy and row, rounded to 1e-4;
	// picks were made before rounding.
	Scores map[string][][]float64 `json:"scores,omitempty"`
	// Sums are each choice's log-probability, by strategy and row, of the
	// strategies that are weights alone, rounded to 1e-4; Lengths go with them.
	Sums    map[string][][]float64 `json:"sums,omitempty"`
	Lengths *Lengths               `json:"lengths,omitempty"`
	// Found are the marks of a row that is also among the rows that the pool was
	// trained on or that the user gives; empty where nobody looked.
	Found []Mark `json:"found,omitempty"`
}

// guess is the pick of a strategy that knows nothing of the row.
const guess = -1

// credit is the expected number of right answers to a row, 0 to 1.
func (s *Sheet) credit(strategy string, row int) float64 {
	switch s.Picks[strategy][row] {
	case guess:
		return 1 / float64(s.Choices[row])
	case s.Answers[row]:
		return 1
	}
	return 0
}

// compare orders sheets, so that a file does not depend on how its run went.
func (s *Sheet) key() string {
	return fmt.Sprintf("%s\x00%s\x00%d\x00%d\x00%d", s.Dataset, s.User, s.Train, s.Shots, s.Draw)
}

// WriteRaw writes sheets as gzip JSON lines. The bytes depend on the sheets alone.
func WriteRaw(w io.Writer, sheets []Sheet) error {
	zw, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(zw)
	for i := range sheets {
		if err := enc.Encode(&sheets[i]); err != nil {
			return &fault.Error{Op: "write raw rows", Err: err}
		}
	}
	if err := zw.Close(); err != nil {
		return &fault.Error{Op: "write raw rows", Err: err}
	}
	return nil
}

// Bounds of a raw file.
const (
	maxRawLine    = 16 << 20 // bytes
	maxRawSheets  = 1 << 18
	maxRawChoices = 1 << 20 // of a row
)

// ReadRaw reads what WriteRaw wrote, and checks each sheet; name is for errors.
func ReadRaw(name string, r io.Reader) ([]Sheet, error) {
	return ReadLines(name, r, maxRawLine, maxRawSheets, "sheets", (*Sheet).check, checkSheets)
}

// ReadLines reads a gzipped file of a JSON value a line, of at most longest
// bytes a line and most lines, called what in errors. It checks each value, and
// all of them at the end; name is for errors.
func ReadLines[T any](name string, r io.Reader, longest, most int, what string, check func(*T) error, all func([]T) error) ([]T, error) {
	var out []T
	fail := func(err error) ([]T, error) {
		return nil, &fault.Error{Op: "read raw rows", Path: fmt.Sprintf("%s:%d", name, len(out)+1), Err: err,
			Exit: fault.ExitVerify, Hint: "run the benchmark again"}
	}
	zr, err := gzip.NewReader(r)
	if err != nil {
		return fail(err)
	}
	defer zr.Close()
	sc := bufio.NewScanner(zr)
	sc.Buffer(make([]byte, 0, 64<<10), longest)
	for sc.Scan() {
		if len(out) >= most {
			return fail(fmt.Errorf("more than %d %s", most, what))
		}
		var x T
		if err := json.Unmarshal(sc.Bytes(), &x); err != nil {
			return fail(err)
		}
		if err := check(&x); err != nil {
			return fail(err)
		}
		out = append(out, x)
	}
	if err := sc.Err(); err != nil {
		return fail(err)
	}
	if err := all(out); err != nil {
		return fail(err)
	}
	return out, nil
}

func (s *Sheet) check() error {
	switch {
	case s.Dataset == "" || s.User == "":
		return errors.New("no data set or user")
	case len(s.IDs) == 0 || len(s.Choices) != len(s.IDs) || len(s.Answers) != len(s.IDs):
		return fmt.Errorf("%d ids, %d choices, %d answers", len(s.IDs), len(s.Choices), len(s.Answers))
	case s.Shots < 0 || s.Shots > MaxExamples || s.Draw < 0 || s.Draw >= MaxDraws:
		return fmt.Errorf("%d examples, draw %d", s.Shots, s.Draw)
	}
	for i, n := range s.Choices {
		free := n == 0 && s.Answers[i] == -1
		if !free && (n < 2 || n > maxRawChoices || s.Answers[i] < 0 || s.Answers[i] >= n) {
			return fmt.Errorf("row %s: answer %d of %d choices", s.IDs[i], s.Answers[i], n)
		}
		if free != (s.Choices[0] == 0) {
			return fmt.Errorf("row %s: some rows have choices and some have none", s.IDs[i])
		}
	}
	if s.Choices[0] == 0 && len(s.Picks) > 0 {
		return errors.New("picks without choices")
	}
	for name, picks := range s.Picks {
		if len(picks) != len(s.IDs) {
			return fmt.Errorf("%s picks for %d of %d rows", name, len(picks), len(s.IDs))
		}
		for i, p := range picks {
			if p < guess || p >= s.Choices[i] {
				return fmt.Errorf("%s picks %d of %d choices", name, p, s.Choices[i])
			}
		}
	}
	if len(s.Found) > 0 && len(s.Found) != len(s.IDs) {
		return fmt.Errorf("marks for %d of %d rows", len(s.Found), len(s.IDs))
	}
	for _, m := range s.Found {
		if m > marks {
			return fmt.Errorf("a mark %d", m)
		}
	}
	for name, said := range s.Said {
		if len(said) != len(s.IDs) || slices.ContainsFunc(said, func(x int) bool { return x != 0 && x != 1 }) {
			return fmt.Errorf("%s: answers must be 0 or 1, one a row", name)
		}
	}
	return nil
}

// checkSheets says whether sheets can be compared: the same strategies in
// all, and one user's sheets over the same rows, none twice.
func checkSheets(sheets []Sheet) error {
	if len(sheets) == 0 {
		return errors.New("no row")
	}
	var names []string
	first := map[string]*Sheet{}
	seen := map[string]bool{}
	for i := range sheets {
		s := &sheets[i]
		if key := s.key(); seen[key] {
			return fmt.Errorf("%s twice, k = %d, draw %d", s.User, s.Shots, s.Draw)
		} else {
			seen[key] = true
		}
		if len(s.Picks) > 0 {
			have := sorted(s.Picks)
			if names == nil {
				names = have
			}
			if !slices.Equal(names, have) {
				return fmt.Errorf("%s: not the strategies of the first user", s.User)
			}
		}
		u := first[s.User]
		if u == nil {
			first[s.User] = s
			continue
		}
		if u.Dataset != s.Dataset || u.Group != s.Group || u.Fold != s.Fold || u.Constant != s.Constant ||
			!slices.Equal(u.IDs, s.IDs) || !slices.Equal(u.Choices, s.Choices) || !slices.Equal(u.Answers, s.Answers) {
			return fmt.Errorf("%s: other rows, or another group, than at its first draw", s.User)
		}
	}
	return nil
}

// round keeps `digits` decimals.
func round(x float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(x*scale) / scale
}
