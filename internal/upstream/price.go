package upstream

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Money is an amount in billionths of the currency that prices are set in, so
// that sums are exact.
type Money int64

const moneyUnit = 1e9

// maxMoney bounds an amount (4.5 million in the currency), so that sums of
// thousands stay in range.
const maxMoney = 1 << 52

// MoneyOf is an amount in the currency as Money, rounded up, at most 4.5
// million; amounts below 0 and what is no number are 0.
func MoneyOf(amount float64) Money {
	x := math.Ceil(amount*moneyUnit - 1e-6) // 0.15 has no exact float64
	switch {
	case !(x > 0):
		return 0
	case x >= maxMoney:
		return maxMoney
	}
	return Money(x)
}

// Amount is the money in the currency.
func (m Money) Amount() float64 { return float64(m) / moneyUnit }

func (m Money) String() string { return strconv.FormatFloat(m.Amount(), 'f', -1, 64) }

// MarshalJSON writes the amount in the currency.
func (m Money) MarshalJSON() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalJSON reads an amount in the currency.
func (m *Money) UnmarshalJSON(data []byte) error {
	var x float64
	if err := json.Unmarshal(data, &x); err != nil {
		return err
	}
	if math.IsNaN(x) || math.Abs(x) > math.MaxInt64/moneyUnit/2 {
		return fmt.Errorf("amount %g is out of range", x)
	}
	*m = Money(math.Round(x * moneyUnit))
	return nil
}

// Price is what a server asks for a million tokens, in any one currency; 0 is
// free.
type Price struct {
	In  float64 // of the prompt
	Out float64 // of the answer
}

// maxPrice bounds a price.
const maxPrice = 1e9

// maxTokens bounds token counts, so that products with prices stay in range.
const maxTokens = 1 << 40

// cost of so many tokens, rounded up.
func (p Price) cost(t tokens) Money {
	return MoneyOf((float64(t.in)*p.In + float64(t.out)*p.Out) / 1e6)
}

// tokens of the prompt and of the answer.
type tokens struct{ in, out int64 }

func (t tokens) total() int64 { return t.in + t.out }
