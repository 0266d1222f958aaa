package crayon

import (
	"errors"

	"crayon/internal/fault"
	"crayon/internal/privacy"
	"crayon/internal/upstream"
)

// gateFor is the way out to servers, with the library's ledger.
func (l *Library) gateFor(o Options, budget *upstream.Budget) (*upstream.Gate, error) {
	scanner, err := privacy.New(o.Privacy)
	if err != nil {
		return nil, err
	}
	// A ledger that can't be written lets nothing leave, and keeps nothing from
	// being answered here.
	return upstream.New(upstream.Options{LocalOnly: o.LocalOnly, Ledger: upstream.LedgerAt(l.paths.Ledger()), Bodies: o.Bodies, Budget: budget, Privacy: scanner, Tainted: l.paths.Private()}), nil
}

// OpenServer is the first of the servers alone, without a model here: what it is
// asked passes the gate, with budget, privacy and ledger, as any query does. Call
// done after use. Nothing is dialled.
func (l *Library) OpenServer(o Options) (server *upstream.Server, done func(), err error) {
	if len(o.Servers) == 0 {
		return nil, nil, &fault.Error{Op: "ask server", Err: errors.New("none is set"), Hint: "export CRAYON_SERVER_URL=http://127.0.0.1:8322/v1", Exit: fault.ExitUsage}
	}
	g, err := l.gateFor(o, l.openBudget(o.Budget))
	if err != nil {
		return nil, nil, err
	}
	if server, err = upstream.NewServer(g, o.Servers[0]); err != nil {
		g.Close()
		return nil, nil, err
	}
	return server, g.Close, nil
}
