"""The searching itself: plain Python over lists that numba compiles unchanged over arrays.

A candidate is a set of digits as bits (digit d is bit d - 1); a board of them is ``masks`` [cells]. ``peers`` and
``units`` are tables of cells. Functions write into what they are handed and make nothing, so that one source serves
both; ``runner`` decides which of the two runs.
"""


def settle(masks, done, peers, units, full, hidden):
    """Place naked singles, and hidden ones where ``hidden``, until nothing moves; False on a contradiction."""
    moved = True
    while moved:
        moved = False
        for cell in range(len(masks)):
            bit = masks[cell]
            if done[cell] or bit & (bit - 1):
                continue
            done[cell] = True
            for peer in peers[cell]:
                if masks[peer] & bit:
                    rest = masks[peer] ^ bit
                    masks[peer] = rest
                    if rest == 0:
                        return False
                    if rest & (rest - 1) == 0:
                        moved = True
        if moved or not hidden:
            continue
        for unit in units:
            once = 0
            twice = 0
            for cell in unit:
                twice |= once & masks[cell]
                once |= masks[cell]
            if once != full:
                return False
            alone = once & ~twice
            for cell in unit:
                found = masks[cell] & alone
                if found and found != masks[cell]:
                    if found & (found - 1):
                        return False
                    masks[cell] = found
                    moved = True
    return True


def narrowest(masks):
    """The first open cell with the fewest candidates, or -1 where every cell has one."""
    best = -1
    fewest = 99
    for cell in range(len(masks)):
        rest = masks[cell] & (masks[cell] - 1)
        if rest:
            count = 2
            rest &= rest - 1
            while rest:
                count += 1
                rest &= rest - 1
            if count < fewest:
                best = cell
                fewest = count
                if count == 2:
                    return best
    return best


def search(masks, done, at, left, peers, units, full, hidden, rank, limit, found):
    """Depth-first search from ``masks[0]``: (solutions up to ``limit``, guesses).

    ``masks`` and ``done`` have a row for each depth, ``at`` and ``left`` an entry. Digits of a cell are tried in
    ascending ``rank`` [cells][size]; a guess is one digit tried in a cell that had several. The first solution is
    written to ``found``, as bits.
    """
    solutions = 0
    guesses = 0
    if not settle(masks[0], done[0], peers, units, full, hidden):
        return 0, 0
    depth = 0
    at[0] = narrowest(masks[0])
    if at[0] < 0:
        found[:] = masks[0]
        return 1, 0
    left[0] = masks[0][at[0]]
    while depth >= 0:
        if left[depth] == 0:
            depth -= 1
            continue
        cell = at[depth]
        bit = 0
        lowest = 1 << 30
        for digit in range(len(rank[cell])):
            if left[depth] >> digit & 1 and rank[cell][digit] < lowest:
                lowest = rank[cell][digit]
                bit = 1 << digit
        left[depth] ^= bit
        guesses += 1
        masks[depth + 1][:] = masks[depth]
        done[depth + 1][:] = done[depth]
        masks[depth + 1][cell] = bit
        if not settle(masks[depth + 1], done[depth + 1], peers, units, full, hidden):
            continue
        following = narrowest(masks[depth + 1])
        if following < 0:
            solutions += 1
            if solutions == 1:
                found[:] = masks[depth + 1]
            if solutions == limit:
                return solutions, guesses
        else:
            depth += 1
            at[depth] = following
            left[depth] = masks[depth][following]
    return solutions, guesses


def start(board, masks, done, full):
    """Candidates of a board of bits (0 blank): one digit where it is given, all where not."""
    for cell in range(len(board)):
        masks[cell] = board[cell] if board[cell] else full
        done[cell] = False


def forced(board, cell, peers, full):
    """Whether a blanked cell's digit is the only one its row, column and box leave it."""
    seen = 0
    for peer in peers[cell]:
        seen |= board[peer]
    bit = full & ~seen
    return bit & (bit - 1) == 0


def minimise(board, order, masks, done, at, left, peers, units, full, rank, found):
    """Blank cells in ``order`` while the answer stays the only one; what is left is minimal. Returns its clues.

    A cell can go when no other digit there has a solution, so each trial is one search for any solution at all.
    """
    clues = len(board)
    for cell in order:
        bit = board[cell]
        board[cell] = 0
        if not forced(board, cell, peers, full):
            start(board, masks[0], done[0], full)
            masks[0][cell] = full ^ bit
            if search(masks, done, at, left, peers, units, full, True, rank, 1, found)[0]:
                board[cell] = bit
                continue
        clues -= 1
    return clues


def only_place(board, cell, bit, members, peers):
    """Whether no other blank cell of a unit could hold the digit that was just taken from ``cell``."""
    for other in members:
        if other == cell or board[other]:
            continue
        free = True
        for peer in peers[other]:
            if peer != cell and board[peer] == bit:
                free = False
                break
        if free:
            return False
    return True


def thin(board, order, holders, peers, units):
    """Blank cells in ``order`` while one of their three units has no other place for the digit. Returns the clues."""
    clues = len(board)
    for cell in order:
        bit = board[cell]
        board[cell] = 0
        for unit in holders[cell]:
            if only_place(board, cell, bit, units[unit], peers):
                clues -= 1
                break
        else:
            board[cell] = bit
    return clues


def stray(masks, done, placed, cell, bit, peers, units):
    """Place ``bit`` in ``cell``, then every single that follows, until one would leave a cell no digit.

    ``masks`` holds the candidates that the filled cells leave, ``placed`` the board of bits; both are extended.
    """
    while cell >= 0:
        for peer in peers[cell]:
            if masks[peer] == bit:
                return
        placed[cell] = bit
        done[cell] = True
        masks[cell] = bit
        for peer in peers[cell]:
            masks[peer] &= ~bit
        cell = -1
        for other in range(len(masks)):
            if not done[other] and masks[other] & (masks[other] - 1) == 0:
                cell = other
                bit = masks[other]
                break
        if cell >= 0:
            continue
        for unit in units:
            once = 0
            twice = 0
            for other in unit:
                twice |= once & masks[other]
                once |= masks[other]
            alone = once & ~twice
            for other in unit:
                found = masks[other] & alone
                if not done[other] and found and cell < 0:
                    cell = other
                    bit = found & -found
