package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"crayon"
)

// writeBudget is the day's budget in lines: what is spent, what calls under way
// may come to, and the limits.
func writeBudget(w io.Writer, b crayon.BudgetStatus) {
	fmt.Fprintf(w, "budget     %s, until %s\n", b.Day, b.Resets.Format("2006-01-02 15:04 MST"))
	fmt.Fprintf(w, "           all keys: %s\n", spent(b.All))
	for _, key := range slices.Sorted(maps.Keys(b.Keys)) {
		name := key
		if name == "" {
			name = "(no key)"
		}
		fmt.Fprintf(w, "           %s: %s\n", name, spent(b.Keys[key]))
	}
}

func spent(k crayon.KeyStatus) string {
	of := func(have, limit string, limited bool) string {
		if limited {
			return have + " of " + limit
		}
		return have
	}
	number := func(n *int64) string {
		if n == nil {
			return ""
		}
		return fmt.Sprint(*n)
	}
	parts := []string{of(fmt.Sprint(k.Calls), number(k.LimitCalls), k.LimitCalls != nil) + " calls"}
	tokens := fmt.Sprint(k.Tokens)
	if k.ReservedTokens > 0 {
		tokens += fmt.Sprintf(" (and up to %d under way)", k.ReservedTokens)
	}
	parts = append(parts, of(tokens, number(k.LimitTokens), k.LimitTokens != nil)+" tokens")
	if k.Money+k.ReservedMoney > 0 || k.LimitMoney != nil {
		money := k.Money.String()
		if k.ReservedMoney > 0 {
			money += fmt.Sprintf(" (and up to %s under way)", k.ReservedMoney)
		}
		limit := ""
		if k.LimitMoney != nil {
			limit = k.LimitMoney.String()
		}
		parts = append(parts, of(money, limit, k.LimitMoney != nil)+" money")
	}
	share := fmt.Sprintf("%d of %d queries sent", k.Sent, k.Queries)
	if k.LimitShare != nil {
		share += fmt.Sprintf(" (at most %g %%)", 100**k.LimitShare)
	}
	return strings.Join(append(parts, share), ", ")
}
