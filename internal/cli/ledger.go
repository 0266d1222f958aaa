package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"crayon"
)

func (a *app) ledgerCommand() *cobra.Command {
	var since, server string
	var last int
	cmd := &cobra.Command{
		Use: "ledger", Short: "List what left this machine, and what was refused",
		Long: `Lists the calls of the ledger, the oldest first: when, to whom, bytes of request and
answer, tokens, cost, and why. Also while other crayons are at work. What is marked
"begun" is under way, or its process died.`,
		Example: "  crayon ledger\n  crayon ledger --since 24h --server llm.example\n  crayon ledger --last 0 --json",
		Args:    args(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			from, err := parseSince(since, time.Now())
			if err != nil {
				return err
			}
			lib, err := a.library()
			if err != nil {
				return err
			}
			calls, skipped, err := lib.Calls(from)
			if err != nil {
				return err
			}
			report := ledgerOf(calls, server, last)
			report.Skipped = skipped
			return a.emit(report, report.text)
		},
	}
	f := cmd.Flags()
	f.StringVar(&since, "since", "", "only calls since `WHEN`: a time ago such as 24h or 7d, a day such as 2026-11-22, or a time as 2026-11-22T10:00:00Z")
	f.StringVar(&server, "server", "", "only calls to this `HOST`")
	f.IntVar(&last, "last", 50, "only the last `N` of them; 0: all")
	return cmd
}

// parseSince reads a time ago, a day (of the local zone) or a time; "" is the
// beginning.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	days := 0
	if n, err := fmt.Sscanf(s, "%dd", &days); err == nil && n == 1 && days >= 0 && s == fmt.Sprintf("%dd", days) {
		return now.AddDate(0, 0, -days), nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, s, time.Local); err == nil {
		return t, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	return time.Time{}, usage(fmt.Errorf("--since %q: want a time ago, a day, or a time", s), "--since 24h, or --since 2026-11-22")
}

// ledgerReport is what the ledger says: the calls, and sums of all that match.
type ledgerReport struct {
	Calls   []crayon.Call `json:"calls"`
	Total   int           `json:"total"` // that match, listed or not
	Left    int           `json:"left"`
	Refused int           `json:"refused"`
	Out     int64         `json:"out"` // bytes
	In      int64         `json:"in"`
	Tokens  int64         `json:"tokens"`
	Cost    crayon.Money  `json:"cost"`
	Skipped int           `json:"skipped"` // lines that are no entries
}

func ledgerOf(calls []crayon.Call, server string, last int) *ledgerReport {
	r := &ledgerReport{Calls: []crayon.Call{}}
	for _, c := range calls {
		if server != "" && c.Host != server && !strings.HasPrefix(c.Host, server+":") {
			continue
		}
		r.Calls = append(r.Calls, c)
		if c.Refused() {
			r.Refused++
			continue
		}
		r.Left++
		r.Out += c.Out
		r.In += c.In
		r.Tokens += c.PromptTokens + c.CompletionTokens
		r.Cost += c.Cost
	}
	r.Total = len(r.Calls)
	if last > 0 && len(r.Calls) > last {
		r.Calls = r.Calls[len(r.Calls)-last:]
	}
	return r
}

func (r *ledgerReport) text(w io.Writer) {
	if r.Total == 0 {
		fmt.Fprintln(w, "nothing left this machine")
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TIME\tSTATE\tTO\tFOR\tOUT\tIN\tTOKENS\tCOST\tWHY")
	dash := func(s string, there bool) string {
		if there {
			return s
		}
		return "-"
	}
	for _, c := range r.Calls {
		state := c.State
		if c.Status != 0 {
			state = fmt.Sprintf("%s %d", state, c.Status)
		}
		to, why := c.Host, c.Why
		if to == "" {
			to = c.Method
		}
		if c.Error != "" {
			why = strings.TrimPrefix(why+": "+c.Error, ": ")
		}
		tokens := c.PromptTokens + c.CompletionTokens
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Time.Local().Format("2006-01-02 15:04:05"), state, to, c.Purpose,
			humanize.Bytes(uint64(c.Out)), humanize.Bytes(uint64(c.In)), dash(fmt.Sprint(tokens), c.Counted != ""), dash(c.Cost.String(), c.Cost != 0), why)
	}
	t.Flush()
	fmt.Fprintf(w, "\n%d calls left (%s out, %s in, %d tokens, cost %s), %d refused", r.Left, humanize.Bytes(uint64(r.Out)), humanize.Bytes(uint64(r.In)), r.Tokens, r.Cost, r.Refused)
	if n := r.Total - len(r.Calls); n > 0 {
		fmt.Fprintf(w, "; %d older ones are not listed (--last 0)", n)
	}
	fmt.Fprintln(w)
}
