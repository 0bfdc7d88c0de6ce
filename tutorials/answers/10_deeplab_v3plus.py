# %% exercise 1
# Divide c (k^2 + m) by c k^2 m: the c falls out, and two fractions are left. For the second part, ask when 1/m is
# smaller than 0.047 - 1/25.
def share(k, m):
    return 1 / m + 1 / k**2


at_least = next(m for m in range(1, 1000) if share(5, m) < 0.047)


# %% exercise 2
# Two loops, over WIDTHS and over (1, 2, 3), and one condition:
# decoder_cost(width, refinements, "xception65") <= budget.
def designs_within(budget):
    return [(w, n) for w in WIDTHS for n in (1, 2, 3) if decoder_cost(w, n, "xception65") <= budget]
