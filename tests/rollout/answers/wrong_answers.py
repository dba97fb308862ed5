"""Wrong answers, written by hand: answer type, gold answer, what was given, the options."""

# By answer type, the gold answer and what was given; not one may be accepted.
WRONG = {
    "number": [
        # off by one, sign, magnitude, digits
        ("12", "13"), ("12", "11"), ("12", "-12"), ("-12", "12"), ("12", "−12"), ("12", "minus 12"),
        ("12", "negative 12"),
        ("12", "120"), ("12", "1.2"), ("12", "21"), ("12", "012.5"), ("1000000", "1000001"), ("5000000", "4999999"),
        ("123456789", "123456788"), ("0", "1"), ("0", "-0.1"), ("0.5", "0.05"), ("0.5", ".05"), ("0.5", "0.51"),
        ("3.14", "3.15"), ("3.14", "3.1416"), ("0.333333", "0.34"), ("1000", "1,00"), ("1000", "10,00"),
        ("1000", "1,0000"),
        ("1234", "1,23,4"), ("3.5", "3,5"), ("35", "3,5"), ("1000", "1 000"),
        # alternatives, lists, ranges
        ("5", "5 or 7"), ("7", "5 or 7"), ("3", "either 3 or 4"), ("4", "either 3 or 4"), ("5", "5, 7"),
        ("7", "5, 7"),
        ("5", "5 and 7"), ("5", "5; 7"), ("5", "5/7"), ("7", "5/7"), ("5", "5 to 7"), ("7", "5-7"), ("5", "5–7"),
        ("6", "between 5 and 7"),
        ("5", "5 | 7"), ("5", "neither 5"), ("5", "(5, 7)"), ("5", "{5, 7}"), ("5", "5 & 6"), ("2", "x = 2, y = 3"),
        ("3", "x = 2, y = 3"),
        ("9", "either x=8 or x=9"), ("9", "x = 8, or x = 9"), ("9", "5 + 3 = 8 or 5 + 4 = 9"),
        ("9", "the cost = $8 or the cost = $9"), ("8", "**8** or 9"), ("9", "8 or **9**"),
        ("7", "5 = 7"), ("5", "5 ± 1"), ("5", "5 +- 1"), ("12", "12 pens or 13 pens"),
        ("12", "12 pens and 3 pencils"),
        # undone arithmetic, variables, functions
        ("5", "5 + 2"), ("2", "5 + 2"), ("7", "5 + 2"), ("5", "5 * 1"), ("3", "3 x 4"), ("2", "2x"), ("2", "2y"),
        ("5", "5n"), ("2", "x2"), ("2", "x^2"),
        ("5", "5!"), ("5", "5^2"), ("5", "5²"), ("2", "√2"), ("2", r"\sqrt{2}"), ("3", r"3\pi"), ("3", "3π"),
        ("2", "f(2)"), ("2", "log 2 + x"), ("4", "4 - x"),
        ("10", "2x = 10"), ("10", "10^5"), ("5", "-(-5) - 10"), ("5", "5 mod 3"),
        # bounds
        ("12", "more than 12"), ("12", "less than 12"), ("12", "at least 12"), ("12", "at most 12"), ("12", "> 12"),
        ("12", "≤ 12"), ("12", "not 12"), ("12", "up to 12"),
        # units and scale that change the value
        ("5", "5 thousand"),
        ("5", "5 Million"), ("5", "5 million"), ("5", "5k"), ("5000", "5 million"), ("500", "5 hundred thousand"),
        ("70", "$70K"), ("5", "5M dollars"), ("1.5", "$1.5M"), ("2.5", "$2.5B"), ("70", "70K USD"), ("300000", "300 K"),
        ("2", "2 and a half"), ("2", "2½"), ("2", "2 1/2"),
        ("5", "5 dollars and 50 cents"), ("5", "5 ft 7 in"), ("2", "2 hours 30 minutes"), ("2", "2h 30min"),
        # percent
        ("0.5", "50%"), ("0.5", r"50\%"), ("0.05", "5%"), ("5", "0.05%"), ("50", "0.5"), ("50", "0.5%"),
        ("1.5", "150%"),
        # fractions
        ("0.5", "1/3"), ("0.5", "2/1"), ("2", "1/2"), ("0.75", r"\frac{4}{3}"), ("0.5", r"-\frac{1}{2}"),
        ("3", r"\frac{1}{3}"), ("1", "1/0"), ("0", "0/0"), ("0", r"\frac{0}{0}"),
        # no numbers at all, or none that is usable
        ("5", "NaN"), ("0", "nan"), ("5", "inf"), ("5", "Infinity"), ("5", "-Infinity"), ("5", "∞"), ("5", r"\infty"),
        ("1", "1e9999"), ("9", "9" * 5000),
        ("1", "1e-9999"), ("0", "1e-9999"), ("0", "1e-320"), ("1", "1E+400"), ("81", "9^{9^{9^9}}"), ("9", "9**9**9"),
        ("5", ""), ("5", "   "), ("5", "\n"), ("5", "."), ("5", "-"), ("5", "#"), ("5", "$"), ("5", "None"),
        ("12", "twelve-ish"), ("5", "I don't know"), ("5", "I cannot answer this question."), ("5", "No answer"),
        ("5", "As an AI, I can't help with 5 of these or 6."),
        ("12", "How many pens do 5 boxes of 7 hold?"),
        # other scripts
        ("12", "١٣"), ("12", "⑫"), ("12", "１３"), ("12", "1²"), ("12", "XII"), ("12", "十二"), ("5", "5₂"),
        ("12", "1\u20092"),
        # dates, times, versions, codes
        ("12", "12/25/2020"), ("2020", "2020-12-25"), ("12", "12:30"), ("12", "12.30.15"), ("3", "3:5"),
        ("25", "Dec 25, 2020"), ("5", "0x5"), ("2", "H2O"), ("12", "1.2.0"), ("10", "1010_2"),
    ],
    "numeric": [
        ("6.15", "6.17"), ("6.15", "6.13"), ("6.15", "-6.15"), ("6.15", "6.15 or 6.16"), ("0.25", "0.27"),
        ("6.15", "61.5"), ("0.02", "nan"), ("6.15", "615%"),
    ],
    "integer": [
        ("7", "8"), ("7", "6"), ("7", "7.02"), ("7", "7, 8"), ("7", "-7"), ("7", "70"), ("7", "7 or 8"), ("7", ""),
    ],
    "expression": [
        # near misses
        (r"\frac{1}{2}", r"\frac{1}{3}"), (r"\frac{1}{2}", r"\frac{2}{1}"), (r"\frac{1}{2}", r"-\frac{1}{2}"),
        (r"\frac{1}{2}", "0.51"), (r"\frac{1}{2}", r"0.5\%"),
        (r"\frac{14}{3}", "4.67"), (r"\frac{1}{3}", "0.33"), ("x+1", "x-1"), ("x+1", "x+2"), ("x+1", "1-x"),
        ("x+1", "y+1"), ("x^2+1", "X^2+1"), ("x^2+1", "x^3+1"), ("2x+3", "3x+2"),
        ("2k", "2"), ("2k", "k"), ("2k", "2k+1"), (r"\sqrt{2}", r"\sqrt{3}"), (r"\sqrt{2}", "2"),
        (r"\sqrt{2}", "1.414"), (r"2\sqrt{3}", r"3\sqrt{2}"), (r"2\sqrt{3}", r"\sqrt{6}"),
        (r"\pi", "3.14"), (r"\pi", "22/7"), (r"4\pi", "4"), (r"4\pi", r"4\pi^2"), (r"4\pi", r"\pi/4"),
        ("6+9i", "6-9i"), ("6+9i", "9+6i"), ("6+9i", "6+9"), ("2i", "-2i"), ("2i", "2"),
        ("3^{2007}", "3^{2008}"),
        ("2^{10}", "2^{1}0"), ("3^{2007}", "3^{2007}+1"), ("2^{100}-2", "2^{100}"), (r"\sin x", r"\cos x"),
        (r"\tan x", r"\tan y"), (r"\log 2", r"\ln 2"),
        (r"\cos 13^\circ", r"\cos 13"), (r"\cos 13^\circ", r"\cos 31^\circ"), (r"8\frac{4}{7}", r"\frac{84}{7}"),
        (r"3\frac{1}{8}", r"\frac{3}{8}"), ("(x-5)(x+2)", "(x+5)(x-2)"),
        ("(a+b)(b+c)", "(a+b)(b-c)"), (r"\frac{x}{y}", r"\frac{y}{x}"), ("500a^7", "500a^6"), ("13p-30", "13p+30"),
        (r"\frac{1+\sqrt{5}}{2}", r"\frac{1-\sqrt{5}}{2}"),
        # intervals, tuples, lists
        ("(0,1)", "[0,1]"), ("(0,1)", "(0,1]"), ("[0,1]", "[0,1)"), ("(0,1)", "(1,0)"), ("[5.8,6)", "[5.8,6]"),
        (r"(-\infty,0]", r"(-\infty,0)"), (r"(-\infty,0]", r"[0,\infty)"), (r"(2,\infty)", r"[2,\infty)"),
        (r"(-\infty,2)\cup(3,\infty)", r"(-\infty,2)\cup[3,\infty)"), (r"(-\infty,2)\cup(3,\infty)", r"(-\infty,2)"),
        (r"(-\infty,2)\cup(3,\infty)", r"(-\infty,2)\cap(3,\infty)"), (r"[1,2]\cup[3,4]", "[1,4]"),
        ("(3,4)", "(4,3)"), ("(3,4)", "3,4"), ("(3,4)", r"\{3,4\}"), ("(3,4)", "(3,4,5)"), ("(3,4)", "(3)"),
        ("(3,4)", "[3,4]"), ("(1,-2,3)", "(1,2,3)"), ("1,-2", "1,2"), ("1,-2", "1"), ("1,-2", "1,-2,3"),
        ("1,2,3", "1,2,2"), ("1,1,2", "1,2,2"),
        ("1,-2", "(1,-2)"), ("23,-17", "-23,17"), (r"1\pm\sqrt{19}", r"1+\sqrt{19}"),
        (r"1\pm\sqrt{19}", r"-1\pm\sqrt{19}"), (r"\pm 2", "2"),
        # several answers at once
        (r"\frac{1}{2}", r"\frac{1}{2} or \frac{1}{3}"), (r"\frac{1}{2}", r"\frac{1}{3} \text{ or } \frac{1}{2}"),
        ("5k", "5k, 6k"), ("5k", "5k and 6k"), ("x+1", "x+1 or x-1"), ("2i", r"2i \text{ or } -2i"),
        # matrices
        (r"\begin{pmatrix} 1 \\ 3 \end{pmatrix}", r"\begin{pmatrix} 3 \\ 1 \end{pmatrix}"),
        (r"\begin{pmatrix} 1 \\ 3 \end{pmatrix}", r"\begin{pmatrix} 1 & 3 \end{pmatrix}"),
        (r"\begin{pmatrix} 1 \\ 3 \end{pmatrix}", "(1,3)"),
        (r"\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}", r"\begin{vmatrix} 1 & 0 \\ 0 & 1 \end{vmatrix}"),
        (r"\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}", r"\begin{pmatrix} 1 & 0 \\ 0 & -1 \end{pmatrix}"),
        # units, bases, codes, equations
        (r"250\text{ inches}", r"250\text{ feet}"), (r"60\text{ miles}", r"60\text{ km}"),
        (r"15\mbox{ cm}^2", r"15\mbox{ cm}"), (r"15\mbox{ cm}^2", r"15\mbox{ m}^2"),
        (r"1599 \text{ dollars}", r"1599\text{ cents}"), (r"9\text{ a.m.}", r"9\text{ p.m.}"),
        (r"13.5\text{ pounds}", r"13.5\text{ ounces}"),
        ("204_5", "204_6"), ("204_5", "204"), ("204_5", "54"), (r"\text{A5}_{11}", r"\text{A5}_{12}"),
        ("LQSX", "XSQL"), ("A", "B"), ("A", "a"), (r"\overline{CD}", r"\overline{AB}"), ("3:5", "5:3"),
        ("3:5", "3:50"),
        ("y=-2x+1", "x=-2y+1"), ("y=-2x+1", "y=2x+1"), ("x=2", "y=2"), ("x=2", "x=3"), ("x^2+y^2=13", "x^2+y^2=14"),
        ("x^2+y^2=13", "13"), ("2x-y+3z+8=0", "2x-y+3z=8"), ("x>2", "x<2"), ("x>2", r"x\ge 2"),
        ("f(2)<f(1)<f(4)", "f(1)<f(2)<f(4)"),
        # percent and nothing
        (r"17\%", r"18\%"), (r"17\%", "0.017"), (r"17\%", "1.7"), (r"17\%", r"0.17\%"), (r"\frac{1}{2}", "nan"),
        (r"\frac{1}{2}", "I do not know"), (r"\frac{1}{2}", "1/0"), (r"\frac{1}{2}", ""), (r"\infty", r"-\infty"),
        ("2k", "NaN"),
    ],
    "boolean": [
        ("yes", "no"), ("no", "yes"), ("yes", "False"), ("no", "True"), ("yes", "yes and no"), ("yes", "yes or no"),
        ("no", "yes/no"), ("yes", "maybe"), ("yes", "unknown"), ("yes", ""), ("yes", "not true"),
        ("no", "not false"), ("no", "none"), ("yes", "y e s"), ("yes", "yesterday"), ("no", "nothing"),
        ("no", "I do not know"), ("yes", "1"), ("no", "0"),
    ],
    "text": [
        (r"\text{Friday}", "Thursday"), (r"\text{Friday}", "Friday or Saturday"), (r"\text{(C)}", "(D)"),
        (r"\text{(C)}", "C, D"), (r"\text{A,C}", "A"), (r"\text{A,C}", "A,B,C"), (r"\text{CBAD}", "ABCD"),
        (r"\text{1:03 PM}", "1:03 AM"), (r"\text{1:03 PM}", "1:30 PM"),
        (r"\text{June 20}", "June 2"), (r"\text{June 20}", "July 20"), (r"\text{odd}", "even"),
        (r"\text{odd}", "odd and even"), ("Stanley", "Stanley County"), ("Stanley", "Stan"), ("Stanley", ""),
        (r"\text{two lines}", "lines"),
    ],
}  # fmt: skip
OPTIONS = ["300", "992", "1120", "552", "Rs. 45"]
WRONG_CHOICES = [
    ("C", "A"), ("C", "D"), ("C", "F"), ("C", "c or d"), ("C", "B or C"), ("C", "C, D"),
    ("C", "C and D"), ("C", "CD"), ("C", "ABCDE"), ("C", "all"), ("C", "300"), ("C", "1121"),
    ("C", "112"), ("C", "11.20"), ("C", "-1120"), ("C", "1120 or 992"), ("C", "B) 1120"), ("C", "C) 992"),
    ("C", "(A) 300"), ("C", "none of these"), ("C", ""), ("C", "?"), ("C", "I don't know"), ("C", "NaN"),
    ("C", "the third"), ("E", "45.5"), ("E", "Rs. 44"), ("E", "Rs. 45 or 46"), ("A", "a b"), ("A", "300, 992"),
]  # fmt: skip
WRONG_MULTI_CHOICES = [
    ("ABD", "C"), ("ABD", "ABC"), ("ABD", "ABCD"), ("ABD", "BCD"), ("ABD", "ABDE"), ("ABD", "none"),
    ("ABD", ""), ("ABD", "bad idea"), ("ABD", "All of the above"), ("ABD", "cannot decide"), ("ABD", "A or B"),
    ("ABD", "A/B"),
    ("ABD", "not C"), ("ABD", "not A"), ("ABD", "ABD?C"), ("ABD", "A, B, D or C"), ("AC", "B"), ("AC", "ABC"),
    ("AC", "12"), ("C", "AC"), ("C", "D"), ("C", "E"), ("C", "BC"),
]  # fmt: skip
ALL_WRONG = [
    *((kind, gold, given, None) for kind, pairs in WRONG.items() for gold, given in pairs),
    *(("choice", gold, given, OPTIONS) for gold, given in WRONG_CHOICES),
    *(("multi_choice", gold, given, ["w", "x", "y", "z"]) for gold, given in WRONG_MULTI_CHOICES),
]
