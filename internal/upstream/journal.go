package upstream

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"crayon/internal/atomicfile"
	"crayon/internal/fault"
	"crayon/internal/store"

	"github.com/gofrs/flock"
)

// The kinds of a journal's lines.
const (
	kindGeneration = "gen"     // the first line: another one means that the file was written anew
	kindReserve    = "reserve" // a call is about to leave, with the most it can cost
	kindSettle     = "settle"  // it ended, with what it cost
	kindQuery      = "query"   // a query was asked, of the device or a server
	kindSums       = "sums"    // what ended calls of a key come to
)

// record is a line of a journal.
type record struct {
	Kind   string `json:"kind"`
	ID     string `json:"id,omitempty"`
	Key    string `json:"key,omitempty"`
	Tokens int64  `json:"tokens,omitempty"`
	Nano   int64  `json:"nano,omitempty"` // billionths of the currency
	Sent   int64  `json:"sent,omitempty"`
	Calls  int64  `json:"calls,omitempty"`
	Query  int64  `json:"queries,omitempty"`
}

// Bounds of journals.
const (
	maxJournal  = 1 << 20 // bytes after which one is written anew, as sums
	keptDays    = 35      // journals of older days are removed
	maxJournals = 4096
	journalEnd  = ".jsonl"
)

// journal is a day's file and what was read of it: an append-only list, which
// all processes write under one lock, and read on from where they were.
type journal struct {
	dir    string
	name   string // the day
	gen    string
	offset int64 // read so far
	keys   map[string]*Sums
	open   map[string]demand
	torn   bool  // the file ends within a line
	least  int64 // size at which the file is written anew
}

func (j *journal) path() string { return filepath.Join(j.dir, j.name+journalEnd) }

func (j *journal) of(key string) Sums {
	if s := j.keys[key]; s != nil {
		return *s
	}
	return Sums{}
}

func (j *journal) all() (sum Sums) {
	for _, s := range j.keys {
		sum.add(*s)
	}
	return sum
}

func budgetFault(path string, err error) error {
	hint := "make the budget's folder writable: what can't be counted does not leave"
	if atomicfile.IsFull(err) {
		hint = "free some space: what can't be counted does not leave"
	}
	return &fault.Error{Op: "use budget", Path: path, Err: err, Hint: hint}
}

// with calls f on the day's journal, read to its end, under the lock of all
// processes.
func (b *Budget) with(f func(*journal) error) error {
	dir := b.opt.Dir
	if err := store.MakeDir(dir); err != nil {
		return err
	}
	lock := flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o600))
	if err := lock.Lock(); err != nil {
		return budgetFault(dir, err)
	}
	defer lock.Unlock()
	today, err := b.today()
	if err != nil {
		return err
	}
	j := &b.day
	if today != j.name {
		*j = journal{dir: dir, name: today}
		if err := b.turnOver(today); err != nil {
			return err
		}
	}
	if err := j.refresh(true); err != nil {
		return err
	}
	if j.offset > max(maxJournal, j.least) {
		if err := j.compact(); err != nil {
			return err
		}
	}
	return f(j)
}

// read is with for one that writes nothing: a folder that is not there or can't
// be written is an empty or a readable day.
func (b *Budget) read(f func(*journal)) error {
	today, err := b.today()
	if err != nil {
		return err
	}
	j := &journal{dir: b.opt.Dir, name: today}
	if err := j.refresh(false); err != nil {
		return err
	}
	f(j)
	return nil
}

// today is the day by the clock, or the last one that was written if that is
// later: a clock that goes back finds the budget as it left it.
func (b *Budget) today() (string, error) {
	today := b.opt.Now().In(b.opt.Zone).Format(time.DateOnly)
	days, err := journals(b.opt.Dir)
	if err != nil {
		return "", err
	}
	if n := len(days); n > 0 && days[n-1] > today {
		today = days[n-1]
	}
	return today, nil
}

// journals are the days that have one, in order.
func journals(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, budgetFault(dir, err)
	}
	defer f.Close()
	names, err := f.Readdirnames(maxJournals)
	if err != nil && err != io.EOF {
		return nil, budgetFault(dir, err)
	}
	var days []string
	for _, name := range names {
		day, ok := strings.CutSuffix(name, journalEnd)
		if _, err := time.Parse(time.DateOnly, day); ok && err == nil {
			days = append(days, day)
		}
	}
	slices.Sort(days)
	return days, nil
}

// turnOver writes the journals of past days as sums, and removes old ones.
func (b *Budget) turnOver(today string) error {
	days, err := journals(b.opt.Dir)
	if err != nil || slices.Contains(days, today) {
		return err
	}
	for i, day := range days {
		if day >= today {
			continue
		}
		j := &journal{dir: b.opt.Dir, name: day}
		if i < len(days)-keptDays {
			if err := os.Remove(j.path()); err != nil {
				return budgetFault(j.path(), err)
			}
			continue
		}
		if i < len(days)-2 {
			continue // written as sums before
		}
		if err := j.refresh(false); err != nil {
			return err
		}
		if err := j.compact(); err != nil {
			return err
		}
	}
	return nil
}

// refresh reads what others wrote since the last time. A missing file is begun
// if create.
func (j *journal) refresh(create bool) error {
	f, err := os.Open(j.path())
	if errors.Is(err, os.ErrNotExist) {
		j.reset("")
		if !create {
			return nil
		}
		return j.rewrite(nil)
	}
	if err != nil {
		return budgetFault(j.path(), err)
	}
	defer f.Close()
	gen, err := generation(f)
	if err != nil {
		return budgetFault(j.path(), err)
	}
	if gen != j.gen || j.keys == nil {
		j.reset(gen)
	}
	if _, err := f.Seek(j.offset, io.SeekStart); err != nil {
		return budgetFault(j.path(), err)
	}
	if err := j.load(f); err != nil {
		return budgetFault(j.path(), err)
	}
	return nil
}

// generation is the id in a journal's first line; "" if that is none, which
// reads the file as if it began now.
func generation(f io.ReaderAt) (string, error) {
	var head [128]byte
	n, err := f.ReadAt(head[:], 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	line, _, _ := bytes.Cut(head[:n], []byte("\n"))
	var r record
	if json.Unmarshal(line, &r) != nil || r.Kind != kindGeneration {
		return "", nil
	}
	return r.ID, nil
}

func (j *journal) reset(gen string) {
	j.gen, j.offset, j.torn = gen, 0, false
	j.keys, j.open = map[string]*Sums{}, map[string]demand{}
}

// load applies whole lines; what a crash left of one was never acted on.
func (j *journal) load(r io.Reader) error {
	br := bufio.NewReaderSize(r, maxLine)
	long := false
	j.torn = false
	for {
		line, err := br.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long = true
			j.offset += int64(len(line))
			continue
		case err == io.EOF:
			j.torn = len(line) > 0 || long
			return nil
		case err != nil:
			return err
		}
		j.offset += int64(len(line))
		var rec record
		if !long && json.Unmarshal(line, &rec) == nil {
			j.apply(rec)
		}
		long = false
	}
}

func (j *journal) apply(r record) {
	if r.Tokens < 0 || r.Nano < 0 || r.Calls < 0 || r.Sent < 0 || r.Query < 0 {
		return // not ours
	}
	of := func(key string) *Sums {
		s := j.keys[key]
		if s == nil {
			s = &Sums{}
			j.keys[key] = s
		}
		return s
	}
	switch r.Kind {
	case kindReserve:
		if _, twice := j.open[r.ID]; twice || r.ID == "" {
			return
		}
		j.open[r.ID] = demand{key: r.Key, tokens: r.Tokens, money: Money(r.Nano), sent: r.Sent > 0}
		of(r.Key).add(Sums{Calls: 1, Sent: min(r.Sent, 1), Open: 1, ReservedTokens: r.Tokens, ReservedMoney: Money(r.Nano)})
	case kindSettle:
		a, ok := j.open[r.ID]
		if !ok {
			return
		}
		delete(j.open, r.ID)
		of(a.key).add(Sums{Tokens: r.Tokens, Money: Money(r.Nano), Open: -1, ReservedTokens: -a.tokens, ReservedMoney: -a.money})
	case kindQuery:
		of(r.Key).add(Sums{Queries: 1})
	case kindSums:
		of(r.Key).add(Sums{Calls: r.Calls, Tokens: r.Tokens, Money: Money(r.Nano), Queries: r.Query, Sent: r.Sent})
	}
}

// append writes a line and applies it. durable has it on disk before it
// returns.
func (j *journal) append(r record, durable bool) error {
	line, err := json.Marshal(r)
	if err != nil {
		return budgetFault(j.path(), err)
	}
	line = append(line, '\n')
	if j.torn {
		line = append([]byte{'\n'}, line...)
	}
	if err := appendLine(j.path(), line, durable); err != nil {
		j.keys = nil // some of it may be there: read anew
		return budgetFault(j.path(), err)
	}
	j.offset += int64(len(line))
	if j.torn {
		// The ended line may hold a record after all.
		j.keys = nil
		return j.refresh(false)
	}
	j.apply(r)
	return nil
}

func appendLine(path string, line []byte, durable bool) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	if err == nil && durable {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// settle notes the end of a call in the journal of the day it left.
func (b *Budget) settle(h *hold, r record) error {
	return b.with(func(j *journal) error {
		if h.day == j.name {
			return j.append(r, false)
		}
		old := &journal{dir: j.dir, name: h.day}
		if _, err := os.Stat(old.path()); errors.Is(err, os.ErrNotExist) {
			return nil // so old that it is gone
		}
		if err := old.refresh(false); err != nil {
			return err
		}
		return old.append(r, false)
	})
}

// compact writes the journal anew: sums for what has ended, and the calls that
// have not.
func (j *journal) compact() error {
	var lines []record
	ended := map[string]Sums{}
	for key, s := range j.keys {
		ended[key] = *s
	}
	for _, id := range slices.Sorted(maps.Keys(j.open)) {
		a := j.open[id]
		r := record{Kind: kindReserve, ID: id, Key: a.key, Tokens: a.tokens, Nano: int64(a.money)}
		s := ended[a.key]
		s.Calls--
		if a.sent {
			r.Sent = 1
			s.Sent--
		}
		ended[a.key] = s
		lines = append(lines, r)
	}
	for _, key := range slices.Sorted(maps.Keys(ended)) {
		s := ended[key]
		lines = append(lines, record{Kind: kindSums, Key: key, Calls: s.Calls, Tokens: s.Tokens, Nano: int64(s.Money), Query: s.Queries, Sent: s.Sent})
	}
	return j.rewrite(lines)
}

// rewrite replaces the file and reads it.
func (j *journal) rewrite(lines []record) error {
	gen, err := newID()
	if err != nil {
		return err
	}
	err = store.WriteFile(j.path(), func(w io.Writer) error {
		enc := json.NewEncoder(w)
		for _, r := range append([]record{{Kind: kindGeneration, ID: gen}}, lines...) {
			if err := enc.Encode(r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	j.reset(gen)
	err = j.refresh(false)
	j.least = 2 * j.offset
	return err
}
