package qa

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"crayon/internal/fault"
)

const suffix = ".jsonl.gz"

// Data is a folder of data sets.
type Data struct {
	root   string
	splits map[string][]string
}

// Open lists the data sets in dir, or in its folder qa where it has one.
// No row is read.
func Open(dir string) (*Data, error) {
	fail := func(err error) (*Data, error) {
		return nil, &fault.Error{Op: "open data", Path: dir, Err: err,
			Hint: "name a folder that holds <dataset>/<split>" + suffix}
	}
	root := filepath.Join(dir, "qa")
	if info, err := os.Stat(root); err != nil || !info.IsDir() {
		root = dir
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return fail(err)
	}
	d := &Data{root: root, splits: map[string][]string{}}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		files, err := os.ReadDir(filepath.Join(root, e.Name()))
		if err != nil {
			return fail(err)
		}
		for _, f := range files {
			if split, ok := strings.CutSuffix(f.Name(), suffix); ok && split != "" && !f.IsDir() {
				d.splits[e.Name()] = append(d.splits[e.Name()], split)
			}
		}
	}
	if len(d.splits) == 0 {
		return fail(errors.New("no data set in it"))
	}
	return d, nil
}

// Datasets returns the names, sorted.
func (d *Data) Datasets() []string {
	names := make([]string, 0, len(d.splits))
	for name := range d.splits {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// EvalSplit returns the split that scored rows come from: the first of test,
// dev and all. A data set without any is an error.
func (d *Data) EvalSplit(dataset string) (string, error) {
	for _, s := range []string{"test", "dev", "all"} {
		if slices.Contains(d.splits[dataset], s) {
			return s, nil
		}
	}
	return "", &fault.Error{Op: "find the evaluation split of", Path: filepath.Join(d.root, dataset),
		Err: errors.New("none of test, dev and all"), Hint: "add one of test, dev, all" + suffix}
}

// TrainSplits returns the splits to train on: train, or where there is none,
// those of dev and val that are not the evaluation split. It may be empty.
func (d *Data) TrainSplits(dataset string) []string {
	if slices.Contains(d.splits[dataset], "train") {
		return []string{"train"}
	}
	eval, _ := d.EvalSplit(dataset)
	var out []string
	for _, s := range []string{"dev", "val"} {
		if s != eval && slices.Contains(d.splits[dataset], s) {
			out = append(out, s)
		}
	}
	return out
}

// Rows streams a split in file order. The first error ends it and names file
// and line.
func (d *Data) Rows(dataset, split string) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		path := filepath.Join(d.root, dataset, split+suffix)
		if !slices.Contains(d.splits[dataset], split) {
			yield(Row{}, &fault.Error{Op: "read data", Path: path, Err: os.ErrNotExist,
				Hint: "data sets here: " + strings.Join(d.Datasets(), ", ")})
			return
		}
		f, err := os.Open(path)
		if err != nil {
			yield(Row{}, &fault.Error{Op: "read data", Path: path, Err: err})
			return
		}
		defer f.Close()
		for row, err := range decode(path, dataset, f) {
			if !yield(row, err) {
				return
			}
		}
	}
}

// All reads splits whole. A data set that uses an id twice in a subject is an
// error, as examples could then not be told from scored rows.
func (d *Data) All(dataset string, splits ...string) ([]Row, error) {
	var rows []Row
	seen := map[[2]string]bool{}
	for _, split := range splits {
		for row, err := range d.Rows(dataset, split) {
			if err != nil {
				return nil, err
			}
			id := [2]string{row.Subject, row.ID}
			if seen[id] {
				return nil, &fault.Error{Op: "read data", Path: filepath.Join(d.root, dataset, split+suffix),
					Err: fmt.Errorf("id %q twice", row.ID), Hint: "give every row an id of its own"}
			}
			seen[id] = true
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// decode streams the rows of a gzip JSON-lines file.
func decode(path, dataset string, r io.Reader) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		n := 0
		fail := func(err error) {
			yield(Row{}, &fault.Error{Op: "read data", Path: fmt.Sprintf("%s:%d", path, n), Err: err,
				Hint: "mend or remove that line, or fetch the data set anew"})
		}
		zr, err := gzip.NewReader(r)
		if err != nil {
			fail(err)
			return
		}
		defer zr.Close()
		limited := &io.LimitedReader{R: zr, N: MaxBytes + 1}
		sc := bufio.NewScanner(limited)
		sc.Buffer(make([]byte, 0, 64<<10), MaxLine+2)
		for sc.Scan() {
			n++
			if n > MaxRows || limited.N <= 0 {
				fail(fmt.Errorf("more than %d rows or %d bytes", MaxRows, int64(MaxBytes)))
				return
			}
			data := bytes.TrimSpace(sc.Bytes())
			if len(data) == 0 {
				fail(errors.New("empty line"))
				return
			}
			row, err := ParseRow(data)
			if err == nil && row.Dataset != dataset {
				err = fmt.Errorf("row of data set %q in the folder of %q", row.Dataset, dataset)
			}
			if err != nil {
				fail(err)
				return
			}
			if !yield(row, nil) {
				return
			}
		}
		n++
		if err := sc.Err(); errors.Is(err, bufio.ErrTooLong) {
			fail(fmt.Errorf("line of more than %d bytes", MaxLine))
		} else if err != nil {
			fail(err)
		}
	}
}
