package qa

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
)

// kindOf is the form of a file by its name: parquet, jsonl, csv or tsv, or "".
func kindOf(name string) string {
	name = strings.TrimSuffix(strings.ToLower(name), ".gz")
	switch path.Ext(name) {
	case ".parquet":
		return "parquet"
	case ".jsonl", ".ndjson", ".json":
		return "jsonl"
	case ".csv":
		return "csv"
	case ".tsv":
		return "tsv"
	}
	return ""
}

// records streams the records of a file; the first error ends it. A number
// counts records from 1, or for JSON lines the lines.
func records(file string) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		f, err := os.Open(file)
		if err != nil {
			yield(nil, err)
			return
		}
		defer f.Close()
		var seq iter.Seq2[record, error]
		if kindOf(file) == "parquet" {
			info, err := f.Stat()
			if err != nil {
				yield(nil, err)
				return
			}
			seq = parquetRecords(f, info.Size())
		} else {
			var r io.Reader = f
			if strings.HasSuffix(strings.ToLower(file), ".gz") {
				z, err := gzip.NewReader(f)
				if err != nil {
					yield(nil, err)
					return
				}
				defer z.Close()
				r = z
			}
			seq = textRecords(kindOf(file), r)
		}
		for rec, err := range seq {
			if !yield(rec, err) {
				return
			}
		}
	}
}

// textRecords reads JSON lines, or separated values with a line of names.
func textRecords(kind string, r io.Reader) iter.Seq2[record, error] {
	r = &io.LimitedReader{R: r, N: MaxBytes}
	switch kind {
	case "jsonl":
		return jsonRecords(r)
	case "csv":
		return csvRecords(r, ',')
	case "tsv":
		return csvRecords(r, '\t')
	}
	return func(yield func(record, error) bool) {
		yield(nil, errors.New("neither .parquet, .jsonl, .csv nor .tsv"))
	}
}

func jsonRecords(r io.Reader) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		sc := bufio.NewScanner(r)
		sc.Buffer(make([]byte, 0, 64<<10), MaxLine+2)
		for sc.Scan() {
			data := bytes.TrimSpace(bytes.TrimPrefix(sc.Bytes(), []byte("\ufeff")))
			switch {
			case len(data) == 0:
				continue
			case data[0] == '[':
				yield(nil, errors.New("a list; write one object a line"))
				return
			case !utf8.Valid(data):
				yield(nil, errors.New("not UTF-8"))
				return
			}
			dec := json.NewDecoder(bytes.NewReader(data))
			dec.UseNumber()
			var rec record
			err := dec.Decode(&rec)
			if err == nil && dec.More() {
				err = errors.New("more than one object in a line")
			}
			if err == nil && rec == nil {
				err = errors.New("no object")
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(rec, nil) {
				return
			}
		}
		if err := sc.Err(); errors.Is(err, bufio.ErrTooLong) {
			yield(nil, fmt.Errorf("line of more than %d bytes", MaxLine))
		} else if err != nil {
			yield(nil, err)
		}
	}
}

// allowance fails once a record has taken more than MaxLine bytes, as a quote
// that is never closed would.
type allowance struct {
	r    io.Reader
	left int
}

func (a *allowance) Read(p []byte) (int, error) {
	if a.left <= 0 {
		return 0, fmt.Errorf("record of more than %d bytes", MaxLine)
	}
	n, err := a.r.Read(p)
	a.left -= n
	return n, err
}

func csvRecords(r io.Reader, comma rune) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		// A byte order mark would become part of the first name.
		buffered := bufio.NewReader(r)
		if mark, _ := buffered.Peek(3); string(mark) == "\ufeff" {
			_, _ = buffered.Discard(3)
		}
		a := &allowance{r: buffered, left: MaxLine}
		c := csv.NewReader(a)
		c.Comma = comma
		names, err := c.Read()
		if err == io.EOF {
			err = errors.New("no line of column names")
		}
		if err != nil {
			yield(nil, err)
			return
		}
		for i, n := range names {
			names[i] = strings.TrimSpace(n)
		}
		for {
			a.left = MaxLine
			fields, err := c.Read()
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			rec := record{}
			for i, f := range fields {
				rec[names[i]] = f
			}
			if !yield(rec, nil) {
				return
			}
		}
	}
}

// parquetRecords reads a parquet file of size bytes.
func parquetRecords(r io.ReaderAt, size int64) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		p, err := openParquet(r, size)
		if err != nil {
			yield(nil, err)
			return
		}
		defer p.Close()
		left := p.NumRows()
		for left > 0 {
			recs, err := nextRecords(p)
			if err == nil && len(recs) == 0 {
				err = io.ErrUnexpectedEOF
			}
			for _, rec := range recs {
				if !yield(rec, nil) {
					return
				}
			}
			if err != nil {
				yield(nil, err)
				return
			}
			left -= int64(len(recs))
		}
	}
}

// openParquet reads the footer. Its bounds are checked here; the library
// panics on some files that are damaged further in.
func openParquet(r io.ReaderAt, size int64) (p *parquet.GenericReader[record], err error) {
	defer recovered(&err)
	if size > MaxBytes {
		return nil, fmt.Errorf("%d bytes, at most %d are read", size, int64(MaxBytes))
	}
	f, err := parquet.OpenFile(r, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, err
	}
	var bytes int64
	for _, g := range f.Metadata().RowGroups {
		if g.TotalByteSize < 0 || g.TotalByteSize > MaxBytes {
			return nil, fmt.Errorf("a row group of %d bytes", g.TotalByteSize)
		}
		bytes += g.TotalByteSize
	}
	if n := f.NumRows(); n < 0 || n > MaxRows || bytes > MaxBytes {
		return nil, fmt.Errorf("%d rows of %d bytes; at most %d and %d are read", n, bytes, MaxRows, int64(MaxBytes))
	}
	return parquet.NewGenericReader[record](f, f.Schema()), nil
}

// nextRecords reads a few records.
func nextRecords(p *parquet.GenericReader[record]) (recs []record, err error) {
	defer recovered(&err)
	buf := make([]record, 64)
	for i := range buf {
		buf[i] = record{}
	}
	n, err := p.Read(buf)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return buf[:n], err
}

func recovered(err *error) {
	if what := recover(); what != nil {
		*err = fmt.Errorf("damaged: %v", what)
	}
}
