package transform

import "testing"

func TestDatesInChineseNumerals(t *testing.T) {
	for text, want := range map[string]string{
		"二〇二一年三月五日":    "2021年3月5日",
		"二零二一年十二月三十一日": "2021年12月31日",
		"二○二一年十月二十日":   "2021年10月20日",
		"二〇二一年十五日":     "2021年15日",
		"2021年三月":      "2021年3月",
		"十十日":          "",
		"二一十日":         "",
		"一二三四五年":       "",
		"2021年3月5日":    "",
		"":             "",
	} {
		if got := string(westernDate([]byte(text))); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	m, problem := purposeDate.read([]byte("二〇二一年三月五日"), nil)
	if problem != "" || m.days() != daysOf(2021, 3, 5) {
		t.Errorf("got %+v, %q", m, problem)
	}
	if _, problem := purposeDate.read([]byte("二〇二一年十三月五日"), nil); problem == "" {
		t.Error("a thirteenth month was accepted")
	}
}
