# Answers to notebook 05. hint(n) prints the comment lines below `exercise n`.

# %% exercise 1
# -ln p_y = ln(sum of e^z) - z_y. Subtract the largest logit of each pixel first: it changes no probability, and no
# exponent is above 0 then. Choose the labelled pixels before anything else.
def my_cross_entropy(logits, labels, void=255):
    logits, labels = logits[labels != void], labels[labels != void]
    logits = logits - logits.max(axis=1, keepdims=True)
    loss = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    return loss.mean()


# %% exercise 2
# poly is lr * (1 - step / steps) ** 0.9. The factor (step + 1) / warmup is 1 at the last step of the warm-up, and
# must not grow beyond it: min() does that.
def my_rate(step, steps, lr, warmup):
    return lr * (1 - step / steps) ** 0.9 * min(1, (step + 1) / warmup)
