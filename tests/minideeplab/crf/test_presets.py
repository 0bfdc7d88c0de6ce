"""Settings by name: texts that are read, and what each refusal says."""

import pytest

from minideeplab.crf import preset_of


def test_settings_in_the_name_of_a_preset():
    expected = preset_of("deeplab-v2", sxy=50, smooth_weight=1, normalisation="symmetric")
    assert preset_of("deeplab-v2,sxy=50, smooth-weight= 1,normalisation=symmetric") == expected
    assert preset_of("deeplab-v2,sxy=70", sxy=50) == preset_of("deeplab-v2,sxy=50")
    for text, message in (
        ("deeplab-v2,normalization=after", "unknown setting normalization; there are bilateral_weight, sxy, .*, norm"),
        ("deeplab-v2,sxy", "'sxy' in 'deeplab-v2,sxy': expected SETTING=NUMBER"),
        ("deeplab-v2,sxy=wide", "'sxy=wide' in .*: expected SETTING=NUMBER"),
        ("deeplab-v2,normalisation", "normalisation must be one of none, before, after, symmetric, got ''"),
    ):
        with pytest.raises(ValueError, match=message):
            preset_of(text)
