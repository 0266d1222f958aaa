package crayon

import (
	"time"

	"crayon/internal/upstream"
)

// Call is one entry of the ledger.
type Call = upstream.Entry

// MoneyOf is an amount in the currency of the prices, rounded up.
func MoneyOf(amount float64) Money { return upstream.MoneyOf(amount) }

func (l *Library) openBudget(o Budget) *upstream.Budget {
	o.Dir = l.paths.Budget()
	return upstream.OpenBudget(o)
}

// BudgetStatus is what the day has spent, has under way, and has left under the
// limits given. It writes nothing, whoever else is at work.
func (l *Library) BudgetStatus(o Budget) (BudgetStatus, error) { return l.openBudget(o).Status() }

// Calls are the calls that left or were refused, at or after since, in order;
// skipped is how many lines of the ledger were none.
func (l *Library) Calls(since time.Time) (calls []Call, skipped int, err error) {
	return upstream.ReadLedger(l.paths.Ledger(), since)
}
