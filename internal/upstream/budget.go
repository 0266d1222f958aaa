package upstream

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"crayon/internal/fault"
)

// Limits are what may be spent in a day. What is nil has no limit; 0 allows
// nothing.
type Limits struct {
	Calls  *int64   // requests made for answers, retries included
	Tokens *int64   // of prompts and answers
	Money  *Money   // in the currency of the prices
	Share  *float64 // of all queries that go to a server, 0 to 1
}

// BudgetOptions of OpenBudget.
type BudgetOptions struct {
	Dir     string            // folder of the journals, one file a day
	All     Limits            // of all keys together
	EachKey Limits            // of every key by itself
	Keys    map[string]Limits // of the keys named, in place of EachKey
	Zone    *time.Location    // whose days; nil is UTC
	Now     func() time.Time  // nil is time.Now
}

// Budget holds what leaves to limits a day. All that use one folder share it,
// in this process and in others; a call is counted with the most it can cost
// before it leaves, and with what it did cost after its end. What a process
// that died had counted stays counted. Safe for concurrent use; a nil *Budget
// has no limits.
type Budget struct {
	opt BudgetOptions

	mu  sync.Mutex
	day journal
}

// OpenBudget makes a budget; the folder is made at the first use.
func OpenBudget(o BudgetOptions) *Budget {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Zone == nil {
		o.Zone = time.UTC
	}
	return &Budget{opt: o}
}

// OverBudget is the refusal of a call for which there is no room.
type OverBudget struct {
	Key      string  // whose limit it is; "" is that of all keys together
	What     string  // calls, tokens, money or share
	Day      string  // such as 2026-11-22
	Limit    float64 // of the day
	Spent    float64 // already, calls under way included
	Asked    float64 // by this call, at most
	Together bool    // the limit is that of all keys
}

func (e *OverBudget) Error() string {
	whose := "of all keys"
	if !e.Together {
		whose = fmt.Sprintf("of key %q", e.Key)
	}
	num := func(x float64) string { return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.6f", x), "0"), ".") }
	switch e.What {
	case "share":
		return fmt.Sprintf("over budget: the share of queries %s for %s is %s, and one more would make it %s", whose, e.Day, num(e.Limit), num(e.Spent+e.Asked))
	}
	return fmt.Sprintf("over budget: of the %s %s for %s, %s of %s are spent, and this asks for up to %s", e.What, whose, e.Day, num(e.Spent), num(e.Limit), num(e.Asked))
}

func overBudget(e *OverBudget) error {
	return &fault.Error{Op: "ask server", Err: e, Hint: "wait for the next day, or raise budget." + e.What + ": crayon route status", Exit: fault.ExitRefused}
}

// Sums are what a day has seen.
type Sums struct {
	Calls          int64 `json:"calls"`
	Tokens         int64 `json:"tokens"` // of calls that have ended
	Money          Money `json:"money"`
	Queries        int64 `json:"queries"` // asked of the device or a server
	Sent           int64 `json:"sent"`    // of those, the ones that went to a server
	Open           int64 `json:"open"`    // calls under way, or of a process that died
	ReservedTokens int64 `json:"reserved_tokens"`
	ReservedMoney  Money `json:"reserved_money"`
}

func (s *Sums) add(o Sums) {
	s.Calls += o.Calls
	s.Tokens += o.Tokens
	s.Money += o.Money
	s.Queries += o.Queries
	s.Sent += o.Sent
	s.Open += o.Open
	s.ReservedTokens += o.ReservedTokens
	s.ReservedMoney += o.ReservedMoney
}

// share is the part of the queries that went to a server.
func (s Sums) share() float64 {
	if s.Queries == 0 {
		return 0
	}
	return float64(s.Sent) / float64(s.Queries)
}

// demand is what a call may cost at most.
type demand struct {
	key    string
	tokens int64
	money  Money
	sent   bool // the query's first call
}

// over says which limit a call would break, or nil.
func (l Limits) over(s Sums, a demand) *OverBudget {
	switch {
	case l.Calls != nil && s.Calls+1 > *l.Calls:
		return &OverBudget{What: "calls", Limit: float64(*l.Calls), Spent: float64(s.Calls), Asked: 1}
	case l.Tokens != nil && s.Tokens+s.ReservedTokens+a.tokens > *l.Tokens:
		return &OverBudget{What: "tokens", Limit: float64(*l.Tokens), Spent: float64(s.Tokens + s.ReservedTokens), Asked: float64(a.tokens)}
	case l.Money != nil && s.Money+s.ReservedMoney+a.money > *l.Money:
		return &OverBudget{What: "money", Limit: l.Money.Amount(), Spent: (s.Money + s.ReservedMoney).Amount(), Asked: a.money.Amount()}
	case l.Share != nil && a.sent && float64(s.Sent+1) > *l.Share*float64(s.Queries)+1e-9:
		return &OverBudget{What: "share", Limit: *l.Share, Spent: s.share(), Asked: 1 / math.Max(1, float64(s.Queries))}
	}
	return nil
}

func (b *Budget) limitsOf(key string) Limits {
	if l, ok := b.opt.Keys[key]; ok {
		return l
	}
	return b.opt.EachKey
}

// bounded says whether tokens or money of a key are limited, so that an answer
// needs a longest length.
func (b *Budget) bounded(key string) bool {
	if b == nil {
		return false
	}
	k := b.limitsOf(key)
	return k.Tokens != nil || k.Money != nil || b.opt.All.Tokens != nil || b.opt.All.Money != nil
}

// limitsMoney says whether any limit is one of money.
func (b *Budget) limitsMoney() bool {
	if b == nil {
		return false
	}
	for _, l := range b.opt.Keys {
		if l.Money != nil {
			return true
		}
	}
	return b.opt.All.Money != nil || b.opt.EachKey.Money != nil
}

// Count notes a query, whoever will answer it; the share is that of these.
func (b *Budget) Count(key string) error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.with(func(j *journal) error { return j.append(record{Kind: kindQuery, Key: key}, false) })
}

// room says whether a call would be let out now, without counting it.
func (b *Budget) room(a demand) error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.with(func(j *journal) error { return b.check(j, a) })
}

func (b *Budget) check(j *journal, a demand) error {
	if over := b.limitsOf(a.key).over(j.of(a.key), a); over != nil {
		over.Key, over.Day = a.key, j.name
		return overBudget(over)
	}
	if over := b.opt.All.over(j.all(), a); over != nil {
		over.Day, over.Together = j.name, true
		return overBudget(over)
	}
	return nil
}

// hold is what was counted for a call that is under way.
type hold struct {
	budget *Budget
	day    string
	id     string
	demand demand
	once   sync.Once
}

// reserve counts a call with the most it can cost, on disk before it returns,
// or refuses it with an *OverBudget.
func (b *Budget) reserve(a demand) (*hold, error) {
	if b == nil {
		return nil, nil
	}
	if a.tokens < 0 || a.tokens > 2*maxTokens || a.money < 0 {
		return nil, &fault.Error{Op: "use budget", Err: fmt.Errorf("a call of %d tokens", a.tokens)}
	}
	id, err := newID()
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	h := &hold{budget: b, id: id, demand: a}
	err = b.with(func(j *journal) error {
		if err := b.check(j, a); err != nil {
			return err
		}
		h.day = j.name
		r := record{Kind: kindReserve, ID: id, Key: a.key, Tokens: a.tokens, Nano: int64(a.money)}
		if a.sent {
			r.Sent = 1
		}
		return j.append(r, true)
	})
	if err != nil {
		return nil, err
	}
	return h, nil
}

// settle puts what the call cost in the place of what it could cost. A later
// call of it does nothing; without one the call stays counted at its most.
func (h *hold) settle(spent int64, money Money) (err error) {
	if h == nil {
		return nil
	}
	h.once.Do(func() {
		h.budget.mu.Lock()
		defer h.budget.mu.Unlock()
		err = h.budget.settle(h, record{Kind: kindSettle, ID: h.id, Tokens: spent, Nano: int64(money)})
	})
	return err
}

// KeyStatus is what a key, or all together, has spent and may.
type KeyStatus struct {
	Sums
	Share       float64  `json:"share"`
	LimitCalls  *int64   `json:"limit_calls"` // null: none
	LimitTokens *int64   `json:"limit_tokens"`
	LimitMoney  *Money   `json:"limit_money"`
	LimitShare  *float64 `json:"limit_share"`
	LeftCalls   *int64   `json:"left_calls"` // null: no limit
	LeftTokens  *int64   `json:"left_tokens"`
	LeftMoney   *Money   `json:"left_money"`
}

// BudgetStatus is a day's budget.
type BudgetStatus struct {
	Day    string               `json:"day"`    // 2026-11-22, in the budget's zone
	Resets time.Time            `json:"resets"` // when the next day begins
	All    KeyStatus            `json:"all"`
	Keys   map[string]KeyStatus `json:"keys"`
}

func statusOf(s Sums, l Limits) KeyStatus {
	k := KeyStatus{Sums: s, Share: s.share(), LimitCalls: l.Calls, LimitTokens: l.Tokens, LimitMoney: l.Money, LimitShare: l.Share}
	if l.Calls != nil {
		left := max(0, *l.Calls-s.Calls)
		k.LeftCalls = &left
	}
	if l.Tokens != nil {
		left := max(0, *l.Tokens-s.Tokens-s.ReservedTokens)
		k.LeftTokens = &left
	}
	if l.Money != nil {
		left := max(0, *l.Money-s.Money-s.ReservedMoney)
		k.LeftMoney = &left
	}
	return k
}

// Status says what is spent, under way and left, of each key that asked today
// or has limits of its own. It writes nothing.
func (b *Budget) Status() (BudgetStatus, error) {
	if b == nil {
		return BudgetStatus{}, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	out := BudgetStatus{Keys: map[string]KeyStatus{}}
	err := b.read(func(j *journal) {
		out.Day = j.name
		out.All = statusOf(j.all(), b.opt.All)
		for _, key := range append(slices.Collect(maps.Keys(j.keys)), slices.Collect(maps.Keys(b.opt.Keys))...) {
			out.Keys[key] = statusOf(j.of(key), b.limitsOf(key))
		}
	})
	if day, perr := time.ParseInLocation(time.DateOnly, out.Day, b.opt.Zone); perr == nil {
		out.Resets = day.AddDate(0, 0, 1)
	}
	return out, err
}
